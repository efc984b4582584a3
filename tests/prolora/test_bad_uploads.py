"""What is wrong with files that people upload: each fault costs its row, or the file, and says where it is."""

import gzip
import io
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from app.services import datasets, uploads
from db import files
from prolora.dataset import read
from prolora.errors import DatasetError
from tests.app.conftest import studio, taken_in

__all__ = ["studio"]  # a fixture

GOOD = b'{"instruction": "a", "output": "b"}'
DEEP = "[" * 100_000
LONG = 200 << 20  # bytes of a line
HELD = 240  # MB that a reader may hold of it, with all its libraries
PATIENCE = 60  # seconds that no fault may take longer than


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.jsonl"


def lines(*rows: bytes) -> bytes:
    return b"\n".join(rows) + b"\n"


def kept_and_rejected(path: Path) -> tuple[list[int], list[tuple[int, str]]]:
    found = read(path)
    assert found.report.read == found.report.kept + found.report.rejected
    return [row.line for row in found.rows], [(reject.line, reject.code) for reject in found.rejects]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"{'instruction': 'a', 'output': 'b'}", "not-json"),
        (GOOD + GOOD, "not-json"),
        (b'{"instruction": "a", "output": "b",}', "not-json"),
        (b'{"instruction": "a", "output": "b", "x": ' + DEEP.encode() + b"}", "not-json"),
        (b'{"instruction": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b', "output": "b"}', "not-json"),
        (b'{"instruction": "a", "output": "\\ud83d"}', "broken-character"),
        (b'{"instruction": "a", "output": "\\ude00\\ud83d"}', "broken-character"),
        (b'{"instruction": "a", "output": "b", "\\u006futput": "c"}', "repeated-field"),
        (b'{"instruction": "a", "output": "b", "more": {"x": 1, "x": 2}}', "repeated-field"),
        (b'{"instruction": "a", "output": {"x": 1}}', "not-text"),
        (b'{"instruction": "a", "output": [1, 2]}', "not-text"),
        (b'{"instruction": "a", "output": 7}', "not-text"),
        (b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}', "no-instruction"),
        (b'[{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]', "no-instruction"),
        (b'{"data": [' + GOOD + b"]}", "no-instruction"),
        (b'"just text"', "no-instruction"),
    ],
)
def test_a_row_of_another_sort_costs_only_itself(path: Path, bad: bytes, code: str) -> None:
    path.write_bytes(lines(GOOD, b"", GOOD, bad, GOOD))
    assert kept_and_rejected(path) == ([1, 3, 5], [(4, code)])


@pytest.mark.parametrize("odd", [b'{"x": 1}', b"[1, 2]", b"1e3", b"true"])
@pytest.mark.parametrize("text", ["007", "true", "null", "[1, 2]", "1e3", '"quoted"', "2024-01-01", "NA"])
def test_one_odd_target_changes_no_other(path: Path, odd: bytes, text: str) -> None:
    good = json.dumps({"instruction": "a", "output": text}).encode()
    path.write_bytes(lines(*[good] * 9, b'{"instruction": "a", "output": %b}' % odd))
    found = read(path)
    assert [row.messages[1]["content"] for row in found.rows] == [text] * 9
    assert [reject.code for reject in found.rejects] == ["not-text"]


@pytest.mark.parametrize(
    "content",
    [
        lines(GOOD, GOOD).replace(b"\n", b"\r\n"),
        lines(GOOD, b" \t", GOOD),
        b"\xef\xbb\xbf" + lines(GOOD, GOOD),
        lines(*['{"instruction": "a\u2028b\u0085c", "output": "b"}'.encode()] * 2),
        b"[" + GOOD + b",\n" + GOOD + b"]",
        json.dumps([json.loads(GOOD)] * 2, indent=4).encode(),
        b'{"data": [' + GOOD + b", " + GOOD + b"]}",
        lines(GOOD, GOOD).decode().encode("utf-16"),
        b"instruction;output\r\na;b\r\na;b\r\n",
    ],
)
def test_what_only_looks_odd_is_read_whole(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    kept, rejected = kept_and_rejected(path)
    assert (len(kept), rejected) == (2, [])


def test_turns_of_two_schemas_in_parts_and_as_json_text_are_all_read(path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    spelled = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    parts = [turns[0], {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]
    rows = [turns, spelled, parts, json.dumps(turns)]
    path.write_bytes(lines(*(json.dumps({"messages": each}).encode() for each in rows)))
    assert {row.messages[1]["content"] for row in read(path).rows} == {"b"}
    assert kept_and_rejected(path) == ([1, 2, 3, 4], [])


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (lines(GOOD, GOOD) + GOOD[:-9], "not-json", 3),
        (b'instruction,output\na,b\nc,"d', "not-a-record", 3),
        (b"instruction\toutput\na\tb\nc", "fields-count", 3),
        ("\n".join([GOOD.decode()] * 2 + ['{"instruction": "é']).encode()[:-1], "not-json", 3),
        ("\n".join([GOOD.decode()] * 3).encode("utf-16-le")[:-3], "not-json", 3),
    ],
)
def test_an_upload_that_was_cut_off_loses_only_its_last_row(path: Path, content: bytes, code: str, line: int) -> None:
    path.write_bytes(content)
    assert kept_and_rejected(path)[1] == [(line, code)]


def test_json_that_was_cut_off_says_where(path: Path) -> None:
    path.write_bytes(b"[" + GOOD + b",\n" + GOOD[:-9])
    with pytest.raises(DatasetError, match=r"file\.jsonl, line 2, column \d+"):
        read(path)


def stored_parquet() -> bytes:
    held = io.BytesIO()
    parquet.write_table(pa.table({"instruction": ["a"] * 999, "output": ["b"] * 999}), held)
    return held.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return held.getvalue()


MANY = lines(*[GOOD] * 999)


@pytest.mark.parametrize("whole", [stored_parquet(), gzip.compress(MANY), zipped("a.jsonl", MANY)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_binary_file_that_was_cut_off_is_refused_in_a_sentence(path: Path, whole: bytes, share: float) -> None:
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DatasetError, match=r"cut off|damaged"):
        read(path)


@pytest.mark.parametrize(
    "content",
    [
        zipped("a.zip", zipped("a.jsonl", MANY)),
        gzip.compress(gzip.compress(MANY)),
        zipped("a.jsonl.gz", gzip.compress(MANY)),
        gzip.compress(zipped("a.jsonl", MANY)),
    ],
)
def test_an_archive_in_an_archive_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"holds a (zip|gzip) archive"):
        read(path)


def test_a_zero_byte_is_told_with_its_place_and_one_that_is_written_out_is_text(path: Path) -> None:
    path.write_bytes(lines(GOOD, GOOD.replace(b"b", b"b\0")))
    with pytest.raises(DatasetError, match=r"its byte \d+ is zero"):
        read(path)
    path.write_bytes(lines(GOOD.replace(b"b", b"b\\u0000")))
    assert read(path).rows[0].messages[1]["content"] == "b\0"


@pytest.mark.parametrize("quote", [DEEP, '{"a":' * 100_000])
def test_nesting_without_end_in_a_cell_costs_its_row(path: Path, quote: str) -> None:
    sound = json.dumps([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    cells = [each.replace('"', '""') for each in (sound, quote, sound)]
    path.write_text("id,messages\n" + "".join(f'{number},"{cell}"\n' for number, cell in enumerate(cells)))
    assert kept_and_rejected(path) == ([2, 4], [(3, "not-json")])


def test_nesting_without_end_over_the_whole_file_says_where(path: Path) -> None:
    for content in (b"[" + GOOD + b",\n" + DEEP.encode(), b"[" + b'{"a":' * 100_000, b'{"a":' * 100_000):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"nested too deeply: file\.jsonl, line [12]"):
            read(path)


READ = """
import re, sys
from pathlib import Path
from prolora.dataset import Choices, Folder, store
from prolora.errors import DatasetError
try:
    report = store(Path(sys.argv[1]), Folder(Path(sys.argv[2])), Choices())
    print(report.kept, dict(report.reasons))
except DatasetError as error:
    print(error)
print(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10)
"""


def stored_apart(path: Path) -> str:
    """What is said of a large file by a process that holds little of it and soon ends."""
    path.with_name("out").mkdir()
    command = [sys.executable, "-c", READ, str(path), str(path.with_name("out"))]
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert time.monotonic() - started < PATIENCE
    said, megabytes = done.stdout.splitlines()
    assert int(megabytes) < HELD
    return said


def long_line(path: Path, before: bytes, after: bytes) -> Path:
    with path.open("wb") as file:
        file.write(before)
        file.writelines([b"a" * (1 << 20)] * (LONG >> 20))
        file.write(after)
    return path


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (lines(GOOD) + b'{"instruction": "', b'"}\n' + GOOD, "2 {'too-long': 1}"),
        (b'{"instruction": "', b'"}\n' + GOOD, "A row is longer than 16 MB: file.jsonl, line 1, column 17."),
        (b"[" + GOOD + b',\n{"instruction": "', b'"}]', "A row is longer than 16 MB: file.jsonl, line 2, column 1."),
    ],
)
def test_a_line_without_end_is_passed_over_in_little_memory(path: Path, before: bytes, after: bytes, said: str) -> None:
    assert stored_apart(long_line(path, before, after)).startswith(said)


def test_a_paragraph_without_end_is_passed_over_in_little_memory(tmp_path: Path) -> None:
    path = long_line(tmp_path / "file.txt", b"once\n\n", b"\n\nmore\n")
    assert stored_apart(path) == "2 {'too-long': 1}"


@pytest.mark.parametrize("before", [b"instruction,output\na,b\n", b'instruction,output\na,b\n"'])
def test_a_cell_without_end_is_passed_over_in_little_memory(path: Path, before: bytes) -> None:
    kept, reasons = stored_apart(long_line(path, before, b",c\nd,e\n")).split(" ", 1)
    assert (kept, set(json.loads(reasons.replace("'", '"')))) <= ("2", {"too-long", "not-a-record", "fields-count"})


def test_a_file_of_nothing_but_a_hole_is_told_as_binary_at_once(path: Path) -> None:
    with path.open("wb") as file:
        file.write(lines(GOOD))
        file.truncate(2 << 30)
    assert f"its byte {len(GOOD) + 2:,} is zero" in stored_apart(path)


def test_a_line_of_2_gb_out_of_a_small_archive_is_stopped(path: Path) -> None:
    path.write_bytes(gzip.compress(lines(GOOD)) + gzip.compress(b"a" * (1 << 20)) * 2_048)
    assert "unpacks to more than 200 times its size" in stored_apart(path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("page.csv", b"<!DOCTYPE html>\n<title>Log in</title>", "web page"),
        ("pointer.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
        ("cut.json", b"[" + MANY.replace(b"\n", b",\n"), "line 1000, column 1"),
        ("cut.jsonl.gz", gzip.compress(MANY)[:-20], "cut off"),
        ("cut.parquet", stored_parquet()[:-20], "cut off"),
        ("bomb.zip", zipped("a.jsonl", lines(GOOD) * (3 << 20)), "times its size"),
        ("out.zip", zipped("../a.jsonl", MANY), "points out of it"),
        ("zeros.jsonl", lines(GOOD, b"\0"), "is zero"),
        ("empty.jsonl", b"", "is empty"),
    ],
)
def test_nothing_of_a_file_that_is_refused_is_kept(
    studio: Path, tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    source = tmp_path / name
    source.write_bytes(content)
    upload = taken_in(uploads.receive(source, name))
    assert sentence in str(uploads.progress(upload).error)
    with pytest.raises(DatasetError, match=re.escape(sentence)):
        uploads.keep(upload, "Bad")
    assert [each.name for each in files.upload_dir(upload.key).iterdir()] == [name]
    uploads.discard(upload)
    assert list(files.uploads_dir().iterdir()) == []
    assert not (studio / "datasets").exists() or not list((studio / "datasets").iterdir())
    assert datasets.listing() == []
