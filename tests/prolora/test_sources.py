import codecs
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prolora.dataset.container import Container
from prolora.dataset.element import text_of
from prolora.dataset.encodings import ENCODINGS, written_back
from prolora.dataset.source import open_file
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


def test_a_person_overrules_what_the_bytes_tell(path: Path) -> None:
    path.write_bytes('{"a": "привет"}\n'.encode("cp1251") * 2)
    assert open_file(path).encoding == "cp1252"
    found = open_file(path, "windows-1251")
    assert (found.encoding, values(found)) == ("cp1251", [{"a": "привет"}] * 2)
    assert found.evidence[0] == "Read as Windows-1251 (cp1251), as was asked for."


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
