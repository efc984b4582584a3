"""One line of JSONL, read the quick way where nobody can disagree about it and with care everywhere else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolora.dataset.element import Flaws, undisputed

TEXTS = st.text(st.sampled_from('a": \\,{}[]\tü😀')) | st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\t"), (",", "\r:")])


def carefully(line: str) -> tuple[object, bool]:
    """The value, and whether it has a flaw."""
    value, end, problem = Flaws().decode(line, 0)
    assert end == len(line)
    return value, problem is not None


@given(VALUES, st.booleans(), SEPARATORS)
def test_the_quick_way_reads_what_the_careful_way_reads(value: object, ascii_only: bool, marks: tuple) -> None:
    line = json.dumps(value, ensure_ascii=ascii_only, separators=marks)
    quick = undisputed(line.encode("utf-8", "surrogatepass"))
    assert quick is None or (quick, False) == carefully(line)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), SEPARATORS)
def test_the_quick_way_takes_no_object_that_names_a_field_twice(pairs: list[tuple[str, str]], marks: tuple) -> None:
    comma, colon = marks
    line = "{" + comma.join(json.dumps(name) + colon + json.dumps(text) for name, text in pairs) + "}"
    repeated = carefully(line)[1]
    assert repeated == (len({name for name, _ in pairs}) < len(pairs))
    assert undisputed(line.encode()) is None or not repeated


@pytest.mark.parametrize(
    "line",
    [
        rb'{"a": "1", "a": "2"}',
        rb'{"a" : "1", "a": "2"}',
        b'{"a"\t\r:"1","\\u0061":"2"}',
        rb'{"m": [{"role": "user", "role": "user"}]}',
        rb'{"a": "\ud83d"}',
        b'{"a": "\xff"}',
        b'{"a": "b\0c"}',
        rb'{"a": NaN}',
        b"[" * 100_000,
        b'{"a": "1"',
        b'{"a": "1"} {}',
        b'{"a": "1",}',
    ],
)
def test_whatever_readers_disagree_about_is_left_to_the_careful_way(line: bytes) -> None:
    assert undisputed(line) is None


def test_a_plain_row_is_read_the_quick_way_and_one_that_quotes_a_name_with_care() -> None:
    plain, quoting = b'{"a": "note: 1"}', rb'{"a": "the field \"b\": 2"}'
    assert undisputed(plain) == {"a": "note: 1"}
    assert undisputed(quoting) is None
    assert Flaws().element(quoting, 1).value == {"a": 'the field "b": 2'}
