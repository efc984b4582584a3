"""Sound files of every container, damaged at random: what comes of them is rows that add up, or a sentence."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from prolora.dataset import read
from prolora.errors import DatasetError

ROWS = [
    {"instruction": "Say “hi”.", "input": "", "output": "Hi.\n"},
    {"messages": [{"role": "user", "content": "é"}, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]},
    {"instruction": "a", "output": "007", "history": [["c", "d"]]},
]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
# What decides how a file is read: put where it does not belong, it does most harm.
MARKS = [b'"', b"\n", b"\r", b",", b"{", b"}", b"[", b"]", b":", b"\\", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\x80"]
MARKS += [b"\\ud83d", b"NaN", b"1e999", b"null", b"PAR1", b"PK\x03\x04", b"\x1f\x8b", b'"output":', b"\t;|"]


def packed_in_zip(content: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jsonl", content)
    return held.getvalue()


def as_parquet() -> bytes:
    held = io.BytesIO()
    columns = {"instruction": ["a", "b"], "output": ["c", None], "turns": [[{"role": "user"}], []]}
    parquet.write_table(pa.table(columns), held)
    return held.getvalue()


SOUND = {
    "rows.jsonl": JSONL.encode(),
    "list.json": json.dumps(ROWS, indent=1).encode(),
    "wrapped.json": json.dumps({"version": 1, "data": ROWS}).encode(),
    "table.csv": b'instruction,output\r\n"a ""b""\nc",d\r\ne,f\r\n',
    "table.tsv": b"prompt\tcompletion\na\tb\nc\td\n",
    "story.txt": b"Once upon a time.\n\nThe end.\n",
    "wide.jsonl": JSONL.encode("utf-16"),
    "western.csv": "instruction;output\ncafé;naïve\n".encode("cp1252"),
    "rows.jsonl.gz": gzip.compress(JSONL.encode()),
    "rows.zip": packed_in_zip(JSONL.encode()),
    "table.parquet": as_parquet(),
}


def account(name: str, content: bytes) -> tuple[object, ...]:
    """All that is said of a file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            found = read(path)
        except DatasetError as error:
            return (str(error),)
    report = found.report
    assert report.kept + report.rejected == report.read
    assert (report.kept, report.rejected) == (len(found.rows), len(found.rejects))
    assert json.dumps([report.evidence, report.first, report.columns], ensure_ascii=False).encode()
    return report, found.rows, found.rejects, found.originals


def flipped(content: bytes, at: int, mark: bytes) -> bytes:
    return content[:at] + bytes([content[at % len(content)] ^ (mark[0] | 1)]) + content[at + 1 :]


def inserted(content: bytes, at: int, mark: bytes) -> bytes:
    return content[:at] + mark + content[at:]


def cut_out(content: bytes, at: int, mark: bytes) -> bytes:
    return content[:at] + content[at + 7 * len(mark) :]


def cut_off(content: bytes, at: int, mark: bytes) -> bytes:
    return content[:at] + mark


def doubled(content: bytes, at: int, mark: bytes) -> bytes:
    return content[:at] + content[at // 2 :]


Damage = tuple[Callable[[bytes, int, bytes], bytes], int, bytes]
damages = st.tuples(
    st.sampled_from([flipped, inserted, cut_out, cut_off, doubled]), st.integers(0, 4_000), st.sampled_from(MARKS)
)


def damaged(content: bytes, damage: Damage) -> bytes:
    how, at, mark = damage
    return how(content, at % len(content), mark) if content else mark


@pytest.mark.parametrize("name", SOUND)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(damages, min_size=1, max_size=3))
def test_damage_ends_in_rows_that_add_up_or_in_a_sentence_and_always_in_the_same(name: str, found: list) -> None:
    content = SOUND[name]
    for damage in found:
        content = damaged(content, damage)
    assert account(name, content) == account(name, content)


@pytest.mark.parametrize("name", SOUND)
def test_the_sound_files_are_read(name: str) -> None:
    assert len(account(name, SOUND[name])) == 4


NAMES = st.sampled_from(
    ["messages", "instruction", "output", "role", "from", "content", "value", "weight", "text", "x"]
)
TEXTS = st.sampled_from(["user", "assistant", "gpt", "", " a ", "\ud83d", "\0", "[1]", "null"]) | st.text(max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from(["rows.jsonl", "list.json", "table.csv"]))
def test_json_of_any_shape_ends_in_rows_that_add_up_or_in_a_sentence(values: list, name: str) -> None:
    texts = [json.dumps(value) for value in values]
    if name.endswith(".csv"):
        texts = ["id,messages", *('1,"' + text.replace('"', '""') + '"' for text in texts)]
    content = "[" + ",".join(texts) + "]" if name.endswith(".json") else "\n".join(texts)
    assert account(name, content.encode()) == account(name, content.encode())
