import base64
import datetime
import decimal
import gzip
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from prolora.dataset.element import ROW_LIMIT, Element
from prolora.dataset.parquet_pages import Thrift, measured
from prolora.dataset.source import open_file
from prolora.errors import DatasetError

PAIR = {"instruction": "007", "output": "Größe\n"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.parquet"


def stored(path: Path, columns: dict[str, object], **options: object) -> Path:
    parquet.write_table(pa.table(columns), path, **options)
    return path


def rows(path: Path) -> list[Element]:
    return list(open_file(path).rows())


def values(path: Path) -> list[object]:
    return [element.value for element in rows(path)]


def refusal(path: Path) -> str:
    with pytest.raises(DatasetError) as refused:
        rows(path)
    return str(refused.value)


def test_rows_are_told_in_json_by_their_number(path: Path) -> None:
    stored(path, {name: [text] * 2 for name, text in PAIR.items()})
    found = open_file(path)
    elements = list(found.rows())
    assert [(each.line, each.value, json.loads(each.raw)) for each in elements] == [(1, PAIR, PAIR), (2, PAIR, PAIR)]
    assert "Größe".encode() in elements[0].raw
    assert (found.name, found.unit, found.encoding, found.frame.suffix) == ("Parquet", "row", "", ".jsonl")
    assert found.evidence == ("A Parquet file with 2 columns: instruction, output.",)
    assert found.progress == 1


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.string(), pa.large_string(), pa.string_view()),
        *(pa.binary(), pa.large_binary(), pa.binary_view()),
        pa.dictionary(pa.int32(), pa.string()),
    ],
)
def test_every_sort_of_text_is_text(path: Path, kind: pa.DataType) -> None:
    texts = ["007", "1.10", "true", "null", "NA", "2024-01-01", "é", "", None]
    stored(path, {"a": pa.array(texts, pa.string()).cast(kind)})
    assert values(path) == [{"a": text} for text in texts]


def test_turns_are_lists_of_objects_and_maps_are_objects(path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}]
    more = pa.array([[("k", "v"), ("l", None)], [], None], pa.map_(pa.string(), pa.string()))
    stored(path, {"messages": [turns, [], None], "more": more})
    assert values(path) == [
        {"messages": turns, "more": {"k": "v", "l": None}},
        {"messages": [], "more": {}},
        {"messages": None, "more": None},
    ]


@pytest.mark.parametrize("listed", [pa.list_, pa.large_list, pa.list_view, pa.large_list_view])
def test_every_sort_of_list_is_a_list(path: Path, listed: Callable[[pa.DataType], pa.DataType]) -> None:
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    turns = [{"role": "user", "content": "007"}]
    stored(path, {"messages": pa.array([turns, [], None], listed(turn))})
    assert values(path) == [{"messages": turns}, {"messages": []}, {"messages": None}]


def test_texts_inside_lists_are_text_where_the_footer_calls_them_views_as_polars_does(path: Path) -> None:
    turns = [{"role": "user", "content": "007"}]
    texts, views = (
        pa.large_list(pa.struct([("role", kind), ("content", kind)])) for kind in (pa.large_string(), pa.string_view())
    )
    called = base64.b64encode(pa.schema([("messages", views)]).serialize().to_pybytes())
    table = pa.table({"messages": pa.array([turns, None], texts)})
    with parquet.ParquetWriter(path, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"ARROW:schema": called})
    assert parquet.read_schema(path).field("messages").type == views
    assert values(path) == [{"messages": turns}, {"messages": None}]


def test_numbers_stay_numbers_and_what_json_lacks_is_named(path: Path) -> None:
    day = datetime.date(2024, 1, 1)
    columns = {
        "whole": [1],
        "half": [0.5],
        "yes": [True],
        "none": [None],
        "not": [float("nan")],
        "price": [decimal.Decimal("1.10")],
        "day": [day],
        "inside": [[{"day": day}]],
        "keys": pa.array([[(1, "a")]], pa.map_(pa.int32(), pa.string())),
    }
    assert values(stored(path, columns)) == [
        {
            "whole": 1,
            "half": 0.5,
            "yes": True,
            "none": None,
            "not": {"float": "nan"},
            "price": {"decimal128(3, 2)": "1.10"},
            "day": {"date32[day]": "2024-01-01"},
            "inside": [{"day": {"date32[day]": "2024-01-01"}}],
            "keys": [[1, "a"]],
        }
    ]


def test_bytes_that_are_no_utf_8_cost_only_their_row(path: Path) -> None:
    odd = pa.array([b"a", b"caf\xe9"]).view(pa.string())
    found = rows(stored(path, {"a": odd}))
    assert [each.value for each in found] == [{"a": "a"}, {"a": "caf\udce9"}]
    assert found[1].raw == b'{"a":"caf\xe9"}'


def test_a_key_that_a_map_has_twice_is_a_repeated_field(path: Path) -> None:
    twice = pa.array([[("k", "a"), ("k", "b")], [("k", "a")]], pa.map_(pa.string(), pa.string()))
    found = rows(stored(path, {"a": twice}))
    assert [each.problem and each.problem[0] for each in found] == ["repeated-field", None]


def test_two_columns_of_one_name_are_refused_at_any_depth(path: Path) -> None:
    parquet.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["x", "x"]), path)
    assert "has two columns called “x”" in refusal(path)
    inner = pa.StructArray.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["x", "x"])
    stored(path, {"a": pa.ListArray.from_arrays([0, 1], inner)})
    assert "has two columns called “x”" in refusal(path)


def test_a_row_longer_than_the_limit_costs_only_itself(path: Path) -> None:
    found = rows(stored(path, {"a": ["b", "c" * (ROW_LIMIT + 1), "d"]}, compression="NONE"))
    assert [(each.line, each.problem and each.problem[0]) for each in found] == [(1, None), (2, "too-long"), (3, None)]


def test_notes_of_pandas_and_of_extension_types_are_not_followed(path: Path) -> None:
    table = pa.table({"a": ["b"]}).replace_schema_metadata({"pandas": b"not json", "ARROW:extension:name": b"x"})
    parquet.write_table(table, path)
    assert values(path) == [{"a": "b"}]
    for name in ("arrow.json", "arrow.py_extension_type"):
        noted = {"ARROW:extension:name": name, "ARROW:extension:metadata": "cos\nsystem\n(S'false'\ntR."}
        kinds = pa.schema([pa.field("a", pa.string(), metadata=noted)])
        parquet.write_table(pa.table({"a": ["[1]"]}, schema=kinds), path)
        assert values(path) == [{"a": "[1]"}]


@pytest.mark.parametrize("packed", ["gzip", "zip"])
def test_parquet_is_read_out_of_an_archive(path: Path, packed: str) -> None:
    content = stored(path, {"a": ["b"]}).read_bytes()
    if packed == "gzip":
        path.write_bytes(gzip.compress(content))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.parquet", content)
    assert (values(path), open_file(path).name) == ([{"a": "b"}], f"Parquet in {packed}")


def test_more_rows_than_bytes_are_refused(path: Path) -> None:
    stored(path, {"a": pa.nulls(1_000_000)}, compression="zstd")
    assert path.stat().st_size < 10_000
    assert "says it has 1,000,000 rows in " in refusal(path)


def test_a_thousand_million_rows_in_a_hundred_bytes_are_refused(path: Path) -> None:
    footer = b"\x29\x0c" + b"\x16\x80\xa8\xd6\xb9\x07" + b"\x19\x0c" + b"\0"
    path.write_bytes(b"PAR1" + bytes(75) + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    assert "says it has 1,000,000,000 rows in 98 bytes" in refusal(path)


def test_a_page_that_unpacks_to_very_much_is_refused_by_its_own_header(path: Path) -> None:
    size = 257 << 20
    text = pa.StringArray.from_buffers(1, pa.array([0, size], pa.int32()).buffers()[1], pa.py_buffer(bytes(size)))
    stored(path, {"a": text}, compression="snappy", use_dictionary=False, write_statistics=False)
    assert path.stat().st_size < 16 << 20
    assert "has pages that unpack to more than 256 MB beside one another" in refusal(path)


def test_values_that_a_dictionary_repeats_are_stopped_when_they_grow_too_many(path: Path) -> None:
    stored(path, {"a": pa.array(["b" * 1_000_000] * 80).dictionary_encode()}, compression="zstd")
    assert "unpacks to more than 200 times its size" in refusal(path)


def test_a_list_of_very_many_nothings_is_refused(path: Path) -> None:
    stored(path, {"a": pa.ListArray.from_arrays([0, 17 << 20], pa.nulls(17 << 20))}, write_statistics=False)
    assert "or to more than 16,777,216 values" in refusal(path)


def test_columns_inside_columns_without_end_are_refused(path: Path) -> None:
    column = pa.array(["a"])
    for _ in range(70):
        column = pa.StructArray.from_arrays([column], names=["x"])
    assert "is damaged" in refusal(stored(path, {"a": column}))


def test_an_encrypted_file_is_told_as_such(path: Path) -> None:
    path.write_bytes(b"PARE" + bytes(100) + b"\x10\0\0\0PARE")
    assert refusal(path) == "file.parquet is encrypted. Write it anew, or save it as JSONL."


@pytest.mark.parametrize(
    ("cut", "sentence"),
    [
        (lambda whole: whole[:-1], "is cut off: a Parquet file ends with PAR1"),
        (lambda whole: whole[:20], "is cut off"),
        (lambda whole: b"PAR1", "is cut off"),
        (lambda whole: whole[:-8] + b"\xff\xff\xff\x7fPAR1", "its footer is larger than it can be"),
        (lambda whole: whole[:-8] + bytes(4) + b"PAR1", "is damaged"),
        (lambda whole: whole[:4] + bytes(40) + whole[44:], "is damaged"),
    ],
)
def test_a_damaged_file_gets_a_sentence(path: Path, cut, sentence: str) -> None:
    path.write_bytes(cut(stored(path, {"a": ["b" * 100, "c" * 100]}).read_bytes()))
    assert sentence in refusal(path)


def test_pages_are_measured_by_their_headers_in_both_versions() -> None:
    table = pa.table({"a": [f"{number} " * 50 for number in range(5_000)], "b": [[1, 2, 3]] * 5_000})
    for version in ("1.0", "2.0"):
        file = io.BytesIO()
        parquet.write_table(table, file, data_page_version=version, data_page_size=10_000, row_group_size=2_000)
        metadata = parquet.ParquetFile(file).metadata
        chunks = [metadata.row_group(group).column(column) for group in range(3) for column in range(2)]
        said, pages = measured(file, file.getvalue()[-8 - metadata.serialized_size : -8])
        headers = sum(chunk.total_uncompressed_size for chunk in chunks) - pages.total
        assert said == 5_000
        assert 0 < headers < 100 * 1024
        assert 10_000 <= pages.largest < 1_200_000
        assert pages.values >= 3_000


@pytest.mark.parametrize(
    "data", [b"\x19\x19" * 100_000, b"\x1c" * 100_000, b"\x15" + b"\xff" * 100, b"\x19\xf5\xff\xff\xff\x7f"]
)
def test_headers_of_hostile_shape_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"nested too deeply|without end|cut off"):
        Thrift(data).structure()


def test_a_footer_of_very_many_columns_is_refused_before_they_are_built() -> None:
    columns = b"\x29\xfc\xa1\x8d\x06" + bytes(100_001)  # a list of 100,001 structures with nothing in them
    with pytest.raises(ValueError, match="too many columns"):
        measured(io.BytesIO(), columns + b"\x16\x02" + b"\x19\x0c" + b"\0")


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader_of_headers(data: bytes) -> None:
    header = Thrift(data)
    try:
        assert isinstance(header.structure(), dict)
    except ValueError:
        return
    assert header.at <= len(data)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_ends_in_anything_but_rows_or_a_sentence(path: Path, data: st.DataObject) -> None:
    whole = bytearray(
        stored(path, {"a": ["b", "c"], "m": [[{"role": "x"}], []]}, write_page_checksum=True).read_bytes()
    )
    for at in data.draw(st.lists(st.integers(4, len(whole) - 5), min_size=1, max_size=3)):
        whole[at] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        found = rows(path)
    except DatasetError:
        return
    assert len(found) == 2


def test_pyarrow_is_loaded_by_a_parquet_file_alone() -> None:
    code = "import sys, prolora.dataset.source; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_pyarrow_the_reader_says_what_to_install(path: Path) -> None:
    stored(path, {"a": ["b"]})
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path\n"
        "from prolora.dataset.source import open_file\n"
        "from prolora.errors import DatasetError\n"
        "try: list(open_file(Path(sys.argv[1])).rows())\n"
        "except DatasetError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    assert done.stdout == (
        "file.parquet is a Parquet file, which pyarrow reads. Install it: pip install 'prolora[parquet]'.\n"
    )
