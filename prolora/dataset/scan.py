"""From a file to its JSON values, each with the line where it starts. Knows nothing of what they mean."""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prolora.errors import DatasetError

Container = Literal["json", "jsonl"]
BLANK = re.compile(r"[ \t\r\n]*")
SHOWN = 500  # characters of a bad row that are kept
PEEK = 20  # lines looked at to tell JSONL from JSON
LONGEST_INT = 4000  # digits; Python refuses to read longer ones

# How files begin that people upload by mistake.
SIGNATURES = (
    (b"PK\x03\x04", "a zip archive (or an Excel file)"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"ARROW1", "an Arrow file"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
    (b"version https://git-lfs", "a Git LFS pointer, which stands for a file that was not fetched"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML file"),
)


@dataclass(frozen=True)
class Element:
    """One row of the file. `problem` is a (code, what is wrong) when it is no sound JSON value."""

    line: int
    value: Any
    raw: str
    problem: tuple[str, str] | None = None


class _Flaws:
    """What a JSON text holds that JSON readers disagree about; noted while a value is decoded."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self.decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant, parse_int=_whole_number
        )

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            self.found.append(("repeated-field", f"names the field “{twice}” twice. Keep one of them"))
        return value

    def _constant(self, name: str) -> None:
        self.found.append(("not-a-number", f"holds {name}, which is not JSON. Replace it"))

    def decode(self, text: str, start: int) -> tuple[Any, int, tuple[str, str] | None]:
        self.found.clear()
        value, end = self.decoder.raw_decode(text, start)
        return value, end, self.found[0] if self.found else None


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < LONGEST_INT else float(digits)


def read_text(path: Path) -> str:
    """The file as text, or a sentence on what it looks like instead.

    Bytes that are not UTF-8 become lone surrogates, which the rows' own check then finds.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be read: {error.strerror}. Choose a JSON or JSONL file.") from error
    start = data[:64].lstrip().lower()
    for signature, looks in SIGNATURES:
        if data.startswith(signature) or start.startswith(signature):
            raise DatasetError(f"{path.name} looks like {looks}. Save it as JSON or JSONL in UTF-8.")
    if b"\0" in data:
        raise DatasetError(
            f"{path.name} looks like a binary file or text in UTF-16. Save it as JSON or JSONL in UTF-8."
        )
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="surrogateescape")
    if not text.strip():
        raise DatasetError(f"{path.name} is empty. Choose a file with at least one row.")
    return text


def elements(text: str, name: str) -> tuple[Container, Iterator[Element]]:
    """The file's rows. Raises at once when it is no JSON; a broken list raises while it is read."""
    start = _skip(text, 0)
    if text[start] == "[":
        return "json", _listed(text, start, name)
    first_lines = list(_first_lines(text))
    if _is_object(first_lines[0]):
        return "jsonl", _lines(text)
    try:
        return "json", iter([_single(text, start, name)])
    except DatasetError:
        # A broken first line does not make JSONL something else.
        if any(map(_is_object, first_lines)):
            return "jsonl", _lines(text)
        if text[start] == "{":
            raise
    raise DatasetError(
        f"{name} starts with “{printable(first_lines[0][:20])}” and is neither JSON nor JSONL. "
        "Save it as a JSON list of objects, or as one JSON object a line."
    )


def printable(text: str) -> str:
    """The text with a question mark for everything that is no character, so that it can be shown and stored."""
    return text.encode(errors="replace").decode()


def _skip(text: str, position: int) -> int:
    found = BLANK.match(text, position)
    return found.end() if found else position


def _place(text: str, position: int) -> str:
    column = position - text.rfind("\n", 0, position)
    return f"line {text.count(chr(10), 0, position) + 1}, column {column}"


def _split_lines(text: str) -> Iterator[str]:
    """Lines as JSONL means them; str.splitlines would also cut at U+2028 inside a text."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end].strip(" \t\r")
        start = end + 1


def _first_lines(text: str) -> Iterator[str]:
    filled = (line for line in _split_lines(text) if line)
    yield from (line for line, _ in zip(filled, range(PEEK), strict=False))


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line, parse_int=float), dict)
    except (ValueError, RecursionError):
        return False


def _lines(text: str) -> Iterator[Element]:
    flaws = _Flaws()
    for number, line in enumerate(_split_lines(text), start=1):
        if line:
            yield _one_line(line, number, flaws)


def _one_line(line: str, number: int, flaws: _Flaws) -> Element:
    shown = line[:SHOWN]
    try:
        value, end, problem = flaws.decode(line, 0)
    except json.JSONDecodeError as error:
        broken = f"is not valid JSON ({error.msg.lower()} at column {error.colno}). Mend it"
        return Element(number, None, shown, ("not-json", broken))
    except RecursionError:
        return Element(number, None, shown, ("not-json", "is nested too deeply. Flatten it"))
    if end < len(line):
        return Element(number, None, shown, ("not-json", f"goes on after its object ends at column {end + 1}. Cut it"))
    return Element(number, value, shown, problem)


def _listed(text: str, start: int, name: str) -> Iterator[Element]:
    """The elements of a JSON list, one by one."""
    flaws, position = _Flaws(), _skip(text, start + 1)
    line, counted = 1, 0
    goes_on = text[position : position + 1] != "]"
    if not goes_on:
        position += 1
    while goes_on:
        line, counted = line + text.count("\n", counted, position), position
        value, end, problem = _decode(text, position, name, flaws)
        yield Element(line, value, text[position : min(end, position + SHOWN)], problem)
        position, goes_on = _after_element(text, _skip(text, end), name)
    rest = _skip(text, position)
    if rest < len(text):
        raise _broken("There is more text after the list ends", text, rest, name)


def _after_element(text: str, position: int, name: str) -> tuple[int, bool]:
    """Where the next element starts, or where the list ended; and which of the two it is."""
    mark = text[position : position + 1]
    if mark == "]":
        return position + 1, False
    if mark != ",":
        what = (
            f"There is “{printable(mark)}” instead of a comma or the closing bracket" if mark else "The list breaks off"
        )
        raise _broken(what, text, position, name)
    following = _skip(text, position + 1)
    if text[following : following + 1] == "]":
        raise _broken("There is a comma before the closing bracket", text, position, name)
    return following, True


def _single(text: str, start: int, name: str) -> Element:
    value, end, problem = _decode(text, start, name, _Flaws())
    rest = _skip(text, end)
    if rest < len(text):
        raise _broken(
            "There is more text after the object ends; a file of several objects needs one a line", text, rest, name
        )
    return Element(1 + text.count("\n", 0, start), value, text[start : min(end, start + SHOWN)], problem)


def _decode(text: str, position: int, name: str, flaws: _Flaws) -> tuple[Any, int, tuple[str, str] | None]:
    if position >= len(text):
        raise _broken("The list breaks off", text, position, name)
    try:
        return flaws.decode(text, position)
    except json.JSONDecodeError as error:
        raise _broken(f"This is not valid JSON ({error.msg.lower()})", text, error.pos, name) from error
    except RecursionError as error:
        raise _broken("A row is nested too deeply", text, position, name) from error


def _broken(what: str, text: str, position: int, name: str) -> DatasetError:
    return DatasetError(f"{what}: {name}, {_place(text, position)}. Mend the file there, or save it as JSONL.")
