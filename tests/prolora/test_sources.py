import bz2
import codecs
import gzip
import io
import json
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prolora.dataset.archives import Limited
from prolora.dataset.container import Container
from prolora.dataset.element import ROW_LIMIT, Element, text_of
from prolora.dataset.encodings import ENCODINGS, written_back
from prolora.dataset.reading import read
from prolora.dataset.source import open_file
from prolora.dataset.stream import Meter
from prolora.dataset.table import RECORD_LINES
from prolora.dataset.tally import Report
from prolora.errors import DatasetError

PAIR = {"instruction": "Où est le café ? “là” – 5 €", "output": "naïve Größe"}
LINE = json.dumps(PAIR, ensure_ascii=False) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.jsonl"


def values(container: Container) -> list[object]:
    return [element.value for element in container.rows()]


def refusal(path: Path, encoding: str | None = None) -> str:
    with pytest.raises(DatasetError) as refused:
        list(open_file(path, encoding).rows())
    return str(refused.value)


@pytest.mark.parametrize(
    ("written", "encoding", "told"),
    [
        (LINE.encode(), "utf-8", ""),
        (LINE.encode("utf-8-sig"), "utf-8", ""),
        (LINE.encode("utf-16"), "utf-16-le", "Its byte order mark says UTF-16, little end first (utf-16-le)."),
        (codecs.BOM_UTF16_BE + LINE.encode("utf-16-be"), "utf-16-be", "Its byte order mark says UTF-16"),
        (LINE.encode("utf-16-le"), "utf-16-le", "Every other byte of its ASCII is zero; read as UTF-16"),
        (LINE.encode("utf-16-be"), "utf-16-be", "Every other byte of its ASCII is zero; read as UTF-16"),
        (LINE.encode("cp1252"), "cp1252", "Its bytes are no UTF-8; read as Windows-1252 (cp1252)."),
    ],
)
def test_the_encoding_is_told_from_the_bytes_and_said(path: Path, written: bytes, encoding: str, told: str) -> None:
    path.write_bytes(written)
    found = open_file(path)
    assert (values(found), found.encoding) == ([PAIR], encoding)
    assert found.evidence[0].startswith(told)
    assert len(found.evidence) == 1 + bool(told)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_letters_with_a_zero_byte_of_their_own_do_not_hide_utf_16(path: Path, encoding: str) -> None:
    rows = [{"instruction": "一" * number, "output": "二"} for number in range(1, 9)]
    path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(encoding))
    assert (open_file(path).encoding, values(open_file(path))) == (encoding, rows)


def test_a_byte_that_windows_1252_lacks_makes_it_latin_1(path: Path) -> None:
    path.write_bytes(json.dumps({"a": "é\x81"}, ensure_ascii=False).encode("latin-1"))
    found = open_file(path)
    assert (found.encoding, values(found)) == ("iso8859-1", [{"a": "é\x81"}])


def test_utf_8_with_some_broken_bytes_stays_utf_8_and_only_those_rows_are_broken(path: Path) -> None:
    path.write_bytes(LINE.encode() * 3 + b'{"instruction": "caf\xe9"}\n')
    found = open_file(path)
    rows = values(found)
    assert (found.encoding, rows[:3]) == ("utf-8", [PAIR] * 3)
    assert rows[3] == {"instruction": "caf\udce9"}
    assert found.evidence[0] == "It is UTF-8 but for 1 bytes; the rows that hold them are left out."


def test_a_character_that_straddles_two_blocks_is_no_broken_byte(path: Path) -> None:
    for shift in range(4):
        path.write_bytes(b"[" + b" " * shift + b'"' + "€".encode() * 800_000 + b'"]')
        assert open_file(path).encoding == "utf-8"


@pytest.mark.parametrize(
    "late",
    [
        LINE.encode(),
        LINE.encode("cp1252"),
        LINE.encode("gb18030"),
        LINE.encode("utf-16-le"),
        LINE.encode() + b'{"instruction": "a", "output": "\xff"}',
        b'{"instruction": "a", "output": "caf\xc3',
        b'{"instruction": "a", "output": "b"}\n\0',
        b'{"instruction": "' + bytes(ROW_LIMIT) + b'"}',
        b'{"instruction": "' + b"\x81" * ROW_LIMIT + b'"}',
        b'{"instruction": NaN, "output": "\\ud83d"}',
    ],
)
def test_a_file_read_before_all_of_it_was_seen_is_told_from_all_of_it(path: Path, late: bytes) -> None:
    path.write_bytes(b'{"instruction": "a", "output": "b"}\n' * 30_000 + late)
    assert told(lambda: read(path).report) == told(lambda: open_file(path))


def told(about: Callable[[], Container | Report]) -> tuple[str, list[str]] | str:
    try:
        found = about()
    except DatasetError as error:
        return str(error)
    return found.encoding, list(found.evidence)


def test_a_person_overrules_what_the_bytes_tell(path: Path) -> None:
    path.write_bytes('{"a": "привет"}\n'.encode("cp1251") * 2)
    assert open_file(path).encoding == "cp1252"
    found = open_file(path, "windows-1251")
    assert (found.encoding, values(found)) == ("cp1251", [{"a": "привет"}] * 2)
    assert found.evidence[0] == "Read as Windows-1251 (cp1251), as was asked for."


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE, b""])
def test_utf_16_may_be_asked_for_by_its_family_name(path: Path, mark: bytes) -> None:
    encoding = "utf-16-be" if mark == codecs.BOM_UTF16_BE else "utf-16-le"
    path.write_bytes(mark + LINE.encode(encoding))
    assert (open_file(path, "UTF-16").encoding, values(open_file(path, "utf16"))) == (encoding, [PAIR])


@pytest.mark.parametrize("encoding", ["utf-7", "rot13", "base64", "no such", "idna", "unicode_escape", "\0"])
def test_an_encoding_outside_the_list_is_an_error(path: Path, encoding: str) -> None:
    path.write_text(LINE)
    assert "is no encoding that can be read. Choose one of utf-8, utf-16-le" in refusal(path, encoding)


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-be"])
def test_utf_32_is_refused_in_a_sentence(path: Path, encoding: str) -> None:
    mark = codecs.BOM_UTF32_BE if encoding == "utf-32-be" else b""
    path.write_bytes(mark + LINE.encode(encoding))
    assert refusal(path).startswith("file.jsonl looks like text in UTF-32. Save it as")


@pytest.mark.parametrize("at", [0, 1, 7, 1_048_577])
def test_a_zero_byte_in_other_text_is_told_with_its_place(path: Path, at: int) -> None:
    text = bytearray(LINE.encode() * (at // len(LINE) + 1))
    text[at] = 0
    path.write_bytes(bytes(text) + b"\0\0")
    assert f"looks like a binary file: its byte {at + 1:,} is zero" in refusal(path)


@pytest.mark.parametrize(
    ("broken", "encoding"),
    [
        ('{"a": "b'.encode("utf-16-le") + b"\x00\xd8" + '"}\n'.encode("utf-16-le"), "utf-16-le"),
        ('{"a": "b"}'.encode("utf-16-le") + b"x", "utf-16-le"),
        ('{"a": "b"}'.encode("utf-16-le") + b"\x00\xd8\x01", "utf-16-le"),
        (b'{"a": "\x81"}\n', "cp1252"),
        (b'{"a": "\x81"}\n', "shift_jis"),
        (b'{"a": "b"} \x81', "gb18030"),
    ],
)
def test_what_is_no_character_of_its_encoding_is_no_utf_8_either(path: Path, broken: bytes, encoding: str) -> None:
    good = '{"a": "c"}\n'.encode(encoding)
    path.write_bytes(good + broken)
    rows = list(open_file(path, encoding).rows())
    assert rows[0].value == {"a": "c"}
    assert len(rows) == 2
    with pytest.raises(UnicodeDecodeError):
        rows[1].raw.decode()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_rows_are_written_back_in_the_bytes_they_came_in(path: Path, encoding: str) -> None:
    line = '{"a": "b \\n c"}'.encode(encoding)
    path.write_bytes(line + "\n".encode(encoding) + line)
    rows = list(open_file(path, encoding).rows())
    assert [written_back(element.raw, encoding) for element in rows] == [line] * 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "cp1252"])
def test_what_is_kept_of_a_row_too_long_ends_with_a_whole_character(path: Path, encoding: str) -> None:
    for shift in range(2):
        path.write_bytes(("{}\n" + " " * shift + "[" + "é" * (ROW_LIMIT // 2) + "\n").encode(encoding))
        row = list(open_file(path).rows())[-1]
        assert problems([row]) == [(2, "too-long")]
        assert written_back(row.raw, encoding).decode(encoding).strip() == "[" + "é" * row.raw.count("é".encode())


def test_half_a_surrogate_pair_that_was_cut_can_still_be_written_back() -> None:
    assert written_back(b"ab\xed\xa0", "utf-16-le") == "ab".encode("utf-16-le")


characters = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=characters, encoding=st.sampled_from([*ENCODINGS, "utf-8-sig", "utf-16"]))
def test_a_text_arrives_unchanged_from_every_encoding(path: Path, text: str, encoding: str) -> None:
    text = text.encode(encoding, errors="ignore").decode(encoding, errors="ignore")
    path.write_bytes((json.dumps({"a": text}, ensure_ascii=False) + "\n").encode(encoding))
    told = encoding if encoding in ENCODINGS else None
    assert values(open_file(path, told)) == [{"a": text}]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=40), encoding=st.sampled_from([None, *ENCODINGS]))
def test_no_bytes_break_an_encoding(path: Path, content: bytes, encoding: str | None) -> None:
    path.write_bytes(b'{"a": "b"}\n{"a": "' + content + b'"}\n')
    try:
        rows = list(open_file(path, encoding).rows())
    except DatasetError:
        return
    assert all(isinstance(text_of(written_back(element.raw, "utf-8")), str) for element in rows)


def test_progress_runs_from_nothing_to_all_while_the_rows_are_read(path: Path) -> None:
    path.write_text(LINE * 200_000)
    found = open_file(path)
    shares = [found.progress for number, _ in enumerate(found.rows()) if number % 20_000 == 0]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 1
    assert found.progress == 1


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_gzip_is_unpacked_while_it_is_read(path: Path) -> None:
    path.write_bytes(gzip.compress((LINE * 2).encode("utf-16")))
    found = open_file(path)
    assert (values(found), found.name, found.encoding) == ([PAIR] * 2, "JSONL in gzip", "utf-16-le")
    assert found.evidence[0] == "Unpacked: file.jsonl in gzip."


def test_gzip_members_are_one_file_and_zero_bytes_behind_them_are_none(path: Path) -> None:
    members = [gzip.compress(LINE[:20].encode()), gzip.compress(b""), gzip.compress(LINE[20:].encode())]
    path.write_bytes(b"".join(members) + b"\0" * 70_000)
    assert values(open_file(path)) == [PAIR]


def test_gzip_members_without_end_that_hold_nothing_are_given_up(path: Path) -> None:
    path.write_bytes(gzip.compress(b"") * 2_000 + gzip.compress(LINE.encode()))
    assert "damaged or cut off" in refusal(path)


def test_a_zip_gives_its_one_data_file(path: Path) -> None:
    aside = [("folder/", b""), ("__MACOSX/folder/._rows.csv", b"\0\1"), ("folder/.DS_Store", b"\0")]
    zipped(path, *aside, ("folder/rows.csv", b"instruction,output\n007,NA\n"))
    found = open_file(path)
    assert (values(found), found.name) == ([{"instruction": "007", "output": "NA"}], "CSV in zip")
    assert found.evidence[0] == "Unpacked: folder/rows.csv in zip."


@pytest.mark.parametrize("name", ["../rows.csv", "a/../../rows.csv", "/etc/rows.csv", "C:\\rows.csv", "..\\rows.csv"])
def test_a_zip_that_points_out_of_itself_is_refused(path: Path, name: str) -> None:
    assert "holds a file that points out of it" in refusal(zipped(path, (name, b"a,b\n1,2\n")))


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([], "is a zip archive without a file"),
        ([("a/", b"")], "is a zip archive without a file"),
        ([("a.csv", b"a,b"), ("b.csv", b"a,b")], "holds several files: a.csv, b.csv. Pack one of them alone."),
        ([(f"{i}.csv", b"a,b") for i in range(7)], "4.csv and 2 more. Pack one"),
        ([("a.zip", b"PK\x03\x04")], "holds a zip archive. Unpack it"),
        ([("a.gz", gzip.compress(b"a,b"))], "holds a gzip archive. Unpack it"),
        ([("[Content_Types].xml", b""), ("xl/workbook.xml", b"")], "is an Excel workbook. Save its sheet as CSV"),
        ([("[Content_Types].xml", b""), ("word/document.xml", b"")], "is a Word document. Save it as plain text."),
        ([("content.xml", b""), ("META-INF/manifest.xml", b"")], "is an OpenDocument file"),
    ],
)
def test_a_zip_without_one_single_data_file_is_refused(path: Path, members: list, sentence: str) -> None:
    assert sentence in refusal(zipped(path, *members))


def test_a_zip_of_a_link_or_of_an_unusual_method_is_refused(path: Path) -> None:
    link = zipfile.ZipInfo("rows.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "is a link to another file" in refusal(zipped(path, (link, b"/etc/passwd")))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("rows.csv", "a,b\n1,2\n")
    assert "is packed in an unusual way" in refusal(path)


def test_an_encrypted_zip_is_refused(path: Path) -> None:
    content = bytearray(zipped(path, ("rows.csv", b"a,b\n1,2\n")).read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "rows.csv in file.jsonl is encrypted" in refusal(path)


@pytest.mark.parametrize("keep", [4, 20, 200, -1, -9])
def test_an_archive_that_is_cut_off_gets_a_sentence(path: Path, keep: int) -> None:
    content = bytes(json.dumps({"a": list(range(3_000))}), "ascii")
    for packed in (gzip.compress(content), zipped(path, ("a.json", content)).read_bytes()):
        path.write_bytes(packed[:keep])
        assert refusal(path) == (
            "file.jsonl looks like a gzip or zip archive but is damaged or cut off. Pack or upload it again."
        )


def test_an_archive_whose_sum_is_wrong_gets_a_sentence(path: Path) -> None:
    packed = bytearray(gzip.compress(LINE.encode()))
    packed[-6] ^= 1
    path.write_bytes(packed)
    assert "damaged or cut off" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rows.jsonl", LINE)
    path.write_bytes(path.read_bytes().replace(b"instruction", b"construction"[:11]))
    assert "damaged or cut off" in refusal(path)


def test_a_bomb_is_stopped_by_what_it_unpacks_to_and_not_by_what_it_says(path: Path) -> None:
    blank = b" " * (1 << 20)
    with gzip.open(path, "wb") as file:
        for _ in range(80):
            file.write(blank)
    assert "unpacks to more than 200 times its size" in refusal(path)
    zipped(path, ("rows.jsonl", blank * 80))
    assert "unpacks to more than 200 times its size" in refusal(path)


def test_no_file_unpacks_to_more_than_the_limit(path: Path) -> None:
    path.write_bytes(b"x")
    with Meter(path) as meter:
        file = Limited(io.BytesIO(bytes(3 << 20)), meter, "file.gz", limit=1 << 20)
        assert len(file.read(1 << 20)) == 1 << 20
        with pytest.raises(DatasetError, match="unpacks to more than 1 MB"):
            file.read(1)


def test_a_zip_of_very_many_files_is_refused_before_its_list_is_read(path: Path) -> None:
    zipped(path, *((f"{number:0200}.csv", b"") for number in range(5_000)))
    assert "lists too many files" in refusal(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (bz2.compress(b"a,b"), "looks like a bzip2 archive. Unpack it and choose the data file inside"),
        (lzma.compress(b"a,b"), "looks like an xz archive. Unpack it"),
        (b"\x28\xb5\x2f\xfd", "looks like a zstd archive. Unpack it"),
        (gzip.compress(gzip.compress(b"a,b")), "holds a gzip archive. Unpack it"),
        (gzip.compress(b"%PDF-1.7"), "holds a PDF. Save it as JSON"),
        (b"{\\rtf1 {}}", "looks like a document in RTF. Save it as JSON"),
        (b"\xd0\xcf\x11\xe0\xa1", "looks like an old Excel or Word file. Save it as JSON"),
    ],
)
def test_other_archives_are_told_what_to_do(path: Path, content: bytes, sentence: str) -> None:
    path.write_bytes(content)
    assert sentence in refusal(path)


def test_a_tar_is_told_as_such_in_gzip_too(path: Path) -> None:
    for mode in ("w", "w:gz"):
        with tarfile.open(path, mode) as archive:
            archive.addfile(tarfile.TarInfo("rows.csv"))
        assert "a tar archive. Unpack it" in refusal(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["gzip", "zip"]))
def test_no_damage_to_an_archive_ends_in_anything_but_rows_or_a_sentence(
    path: Path, data: st.DataObject, kind: str
) -> None:
    packed = bytearray(
        gzip.compress(LINE.encode()) if kind == "gzip" else zipped(path, ("a.jsonl", LINE.encode())).read_bytes()
    )
    for at in data.draw(st.lists(st.integers(0, len(packed) - 1), min_size=1, max_size=4)):
        packed[at] = data.draw(st.integers(0, 255))
    path.write_bytes(packed)
    try:
        rows = list(open_file(path).rows())
    except DatasetError:
        return
    assert len(rows) == 1


def problems(rows: list[Element]) -> list[tuple[int, str | None]]:
    return [(row.line, row.problem and row.problem[0]) for row in rows]


@pytest.mark.parametrize("name", ["file.txt", "file.md", "file"])
def test_the_paragraphs_of_a_text_are_its_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes("\n \nOne, two.\r\n  Three – four.\r\n\t\r\n\r\n007\n\n[not a list]".encode())
    found = open_file(path)
    rows = list(found.rows())
    assert [(row.line, row.value) for row in rows] == [
        (3, "One, two.\r\n  Three – four."),
        (7, "007"),
        (9, "[not a list]"),
    ]
    assert [row.raw.decode() for row in rows] == [row.value for row in rows]
    assert (found.name, found.unit, found.frame.suffix) == ("text", "line", ".txt")
    assert "Nothing in it looks like JSON or a table: plain text" in found.evidence[0]


def test_a_paragraph_longer_than_the_limit_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"a\n\n" + b"b" * (ROW_LIMIT + 1) + b"\nb\n\nc" + b" " * (2 << 20) + b"\n")
    rows = list(open_file(path).rows())
    assert problems(rows) == [(1, None), (3, "too-long"), (6, None)]
    assert rows[2].raw == b"c" + b" " * (2 << 20)


@pytest.mark.parametrize(
    ("name", "content", "container"),
    [
        ("a.txt", "instruction\toutput\na\tb\nc\td\n", "TSV"),
        ("a.txt", "1,2\n3,4\n", "CSV"),
        ("a.txt", "instruction,output\na,b\nragged\nc,d\n", "CSV"),
        ("a.txt", 'instruction,output\n"a\n\nb",c\n', "CSV"),
        ("a.txt", '{"a": "b"}\n{"a": "c"}\n', "JSONL"),
        ("a.txt", "Hello, world.\n\nThis, I think, is prose.\n", "text"),
        ("a.txt", "Hello, world.\n", "text"),
        ("a.txt", "One, two.\nThree.\nFour.\n", "text"),
    ],
)
def test_a_name_does_not_make_a_text_of_what_has_a_structure(
    tmp_path: Path, name: str, content: str, container: str
) -> None:
    (tmp_path / name).write_text(content)
    assert open_file(tmp_path / name).name == container


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "{'a': 'b'}\n{'a': 'c'}\n"),
        ("a.txt", '[{"a": "b"}, '),
        ("a.txt", "[Chapter 1]\n"),
        ("a.csv", "just one sentence\n\nand another\n"),
        ("a.jsonl", "just one sentence\n"),
        ("a.csv", "instruction,output\ra,b\rc,d\r"),
        ("a.txt", "One.\r\rTwo.\r"),
        ("a.csv", "\n <!DOCTYPE html>\n<title>Log in, please</title>\n"),
        ("a.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        ("a.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    ],
)
def test_what_looks_like_a_broken_structure_is_no_text(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, newline="")
    assert refusal(tmp_path / name)


LONG = b"x" * (ROW_LIMIT + 1)


@pytest.mark.parametrize(
    ("record", "rejects"),
    [
        (LONG + b",b", [(3, "too-long")]),
        (LONG + b',5"', [(3, "too-long")]),
        (b'a,"' + LONG + b'"', [(3, "too-long")]),
        (b'a,"' + LONG + b'""\nc,d\n\ne,f"', [(3, "too-long")]),
        (b'"c\nd,e",' + LONG, [(3, "too-long")]),
        (b'"c\n' + LONG + b'\nd,e",f', [(3, "too-long")]),
        (b'"never closed\n' + LONG + b",b", [(3, "not-a-record"), (4, "too-long")]),
    ],
)
def test_a_line_too_long_costs_a_table_only_its_record(path: Path, record: bytes, rejects: list) -> None:
    path = path.with_suffix(".csv")
    path.write_bytes(b'instruction,output\n"a","b"\n' + record + b'\n"g","h"\ni,j\n')
    rows = list(open_file(path).rows())
    last = 4 + record.count(b"\n")
    assert problems(rows) == [(2, None), *rejects, (last, None), (last + 1, None)]


def test_a_stray_quote_in_a_line_too_long_takes_none_of_very_many_good_lines(path: Path) -> None:
    path = path.with_suffix(".csv")
    path.write_bytes(b"instruction,output\n" + LONG + b',5"\n' + b"a,b\n" * (RECORD_LINES + 2))
    rows = list(open_file(path).rows())
    assert problems(rows) == [(2, "too-long"), *((line, None) for line in range(3, RECORD_LINES + 5))]


def test_the_object_over_a_whole_file_is_told_as_it_stands_and_with_its_flaws(path: Path) -> None:
    text = '{"a":  "b",\n "c": ["x", 1], "a": "é"}'
    path.write_text(f"\n {text} \n", encoding="utf-8")
    (row,) = open_file(path).rows()
    assert (row.line, row.raw.decode(), row.problem and row.problem[0]) == (2, text, "repeated-field")


def test_what_stands_beside_the_rows_of_an_object_is_not_held_without_bound(path: Path) -> None:
    path.write_text('{"more": [' + f'"{"x" * 10_000}",' * 2_000 + '1], "rows": [{"a": "b"}]}')
    assert "What is no list of rows is longer than 16 MB" in refusal(path)
