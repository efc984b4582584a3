"""CSV and its relatives: every cell is text and stays it."""

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import BinaryIO

from prolora.dataset.container import Frame, FromSource
from prolora.dataset.element import ROW_LIMIT, Element, enumerated, text_of, too_long
from prolora.dataset.stream import Source
from prolora.errors import DatasetError

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
LOOK, LOOK_LINES = 4 << 20, 200  # bytes and records by which the delimiter is told
LONGEST_NAME = 64  # characters of a field's name; a longer first row is no header
RECORD_LINES = 5_000  # that one record may run over before its quote counts as never closed
PIECE = 1 << 20  # bytes of a line that is too long read at a time
EXCEL_CELL = 32_767  # characters at which Excel cuts a cell

csv.field_size_limit(ROW_LIMIT)


class _OpenQuote(Exception):  # noqa: N818
    """The record's quote is not closed where it should be."""


class _TooLong(Exception):  # noqa: N818
    """The record has a line that is too long."""


class Records:
    """The records of a table, each with its first line and its own bytes."""

    def __init__(self, file: BinaryIO, delimiter: str) -> None:
        self.file, self.delimiter = file, delimiter
        self._again: deque[bytes] = deque()  # lines that an unclosed quote had swallowed
        self._used: list[bytes] = []
        self.line = 1

    def __iter__(self) -> Iterator[tuple[int, bytes, list[str] | str]]:
        """(line, bytes, cells), or what is wrong in place of the cells."""
        reader = self._reader()
        while True:
            first, self._used = self.line, []
            try:
                cells: list[str] | str = next(reader)
            except StopIteration:
                return
            except _OpenQuote:
                cells, reader = "opens a quote that is never closed. Close it or double it", self._reader()
                self._give_back()
            except csv.Error as error:
                cells, reader = f"cannot be cut into fields ({error}). Mend its quotes", self._reader()
                self._give_back()
            except _TooLong:
                cells, reader = "is too long", self._reader()
                if self._is_open() and not self._close():
                    self._give_back()
            self.line = first + len(self._used)
            if (cells and cells != [""]) or isinstance(cells, str):
                yield first, b"".join(self._used).rstrip(b"\r\n"), cells

    def _reader(self) -> "Iterator[list[str]]":
        return csv.reader(self._lines(), delimiter=self.delimiter, strict=True)

    def _lines(self) -> Iterator[str]:
        size = 0
        while True:
            line = self._next()
            if not line and self._used:
                raise _OpenQuote
            if not line:
                return
            size = len(line) + (size if self._used else 0)
            self._used.append(line)
            if len(line) > ROW_LIMIT:
                raise _TooLong
            if len(self._used) > RECORD_LINES or size > ROW_LIMIT:
                raise _OpenQuote
            yield text_of(line)

    def _next(self) -> bytes:
        """A line; of one that is too long the beginning, with a quote if there is an odd number of them in the rest."""
        if self._again:
            return self._again.popleft()
        line = self.file.readline(ROW_LIMIT + 1)
        if len(line) <= ROW_LIMIT or line.endswith(b"\n"):
            return line
        quotes = 0
        while piece := self.file.readline(PIECE):
            quotes += piece.count(b'"')
            if piece.endswith(b"\n"):
                break
        return line + b'"' * (quotes % 2)

    def _is_open(self) -> bool:
        return sum(line.count(b'"') for line in self._used) % 2 == 1

    def _close(self) -> bool:
        """Take the lines up to the one that closes the quote; none, if the next quote closes nothing."""
        taken, size = list[bytes](), 0
        while len(taken) < RECORD_LINES and size <= ROW_LIMIT and (line := self._next()):
            taken.append(line)
            size += len(line)
            _, quote, after = line.replace(b'""', b"").partition(b'"')
            if quote and after.startswith((self.delimiter.encode(), b"\r", b"\n")):
                self._used += taken
                return True
            if quote:
                break
        self._again.extendleft(reversed(taken))
        return False

    def _give_back(self) -> None:
        """Only the line with the quote is lost; what it swallowed is read again."""
        self._again.extendleft(reversed(self._used[1:]))
        del self._used[1:]


class Table(FromSource):
    """A table with a header row, or with fields named column 1, column 2, ... where the first row is none."""

    def __init__(self, source: Source, delimiter: str) -> None:
        super().__init__(source)
        self.delimiter = delimiter
        self.kind = "TSV" if delimiter == "\t" else "CSV"

    def rows(self) -> Iterator[Element]:
        with self.source.open() as file:
            yield from self._rows(Records(file, self.delimiter))

    def _rows(self, records: Records) -> Iterator[Element]:
        found = iter(records)
        first = next(found, None)
        if first is None:
            return
        line, raw, cells = first
        if isinstance(cells, str):
            raise DatasetError(f"The header of {self.source.name}, line {line}, {cells}.")
        header = is_header(cells)
        names = [cell.strip() for cell in cells] if header else [f"column {i}" for i in range(1, len(cells) + 1)]
        self.frame = Frame(raw + b"\n" if header else b"", suffix=f".{self.kind.lower()}")
        told = (
            f"{len(names)} fields divided by {DELIMITERS[self.delimiter]}: {self.kind}.",
            f"The first row names them: {enumerated(names)}."
            if header
            else "The first row is no header, so the fields are named by their place.",
        )
        cut = 0
        for line, raw, cells in found if header else (first, *found):
            cut += not isinstance(cells, str) and any(len(cell) == EXCEL_CELL for cell in cells)
            yield _element(line, raw, cells, names)
        excel = f"{cut} rows hold a text of exactly {EXCEL_CELL:,} characters, where Excel cuts; look at their ends."
        self.told = (*told, excel) if cut else told


def _element(line: int, raw: bytes, cells: list[str] | str, names: list[str]) -> Element:
    if len(raw) > ROW_LIMIT:
        return too_long(line, raw)
    if isinstance(cells, str):
        return Element(line, None, raw, ("not-a-record", cells))
    if len(cells) != len(names):
        what = f"has {len(cells)} fields where there should be {len(names)}. Quote texts that hold the delimiter"
        return Element(line, None, raw, ("fields-count", what))
    return Element(line, dict(zip(names, cells, strict=True)), raw)


def is_header(cells: list[str]) -> bool:
    """Names are filled, short, on one line and all different; no number is a name."""
    names = [cell.strip() for cell in cells]
    plain = all(name and len(name) <= LONGEST_NAME and "\n" not in name for name in names)
    return plain and len(set(names)) == len(names) and not any(_is_number(name) for name in names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Division:
    """How a file's first records are cut into fields."""

    delimiter: str
    first: tuple[str, ...]
    alike: int  # records with as many fields as the first
    records: int
    blanks: bool  # whether there are blank lines between them

    @property
    def is_certain(self) -> bool:
        """Prose has commas too, but seldom equally many in each line."""
        consistent = self.alike == self.records or is_header(list(self.first))
        return consistent and self.records > 1 and not self.blanks


def division_of(source: Source) -> Division | None:
    """By the character that cuts most records into equally many fields, two or more; None when none does."""
    with source.open() as file:
        head = file.read(LOOK)
    found = [division for mark in DELIMITERS if (division := _division(head, mark))]
    return max(found, key=lambda division: (division.alike, len(division.first)), default=None)


def _division(head: bytes, delimiter: str) -> Division | None:
    found = list(islice(Records(BytesIO(head), delimiter), LOOK_LINES))
    if len(head) == LOOK and len(found) > 1:
        found.pop()  # it is cut
    ends = [line + raw.count(b"\n") + 1 for line, raw, _ in found]
    blanks = any(end < line for end, (line, _, _) in zip(ends, found[1:], strict=False))
    sound = [cells for _, _, cells in found if not isinstance(cells, str)]
    if not sound or len(sound[0]) < 2:
        return None
    alike = sum(len(cells) == len(sound[0]) for cells in sound)
    return Division(delimiter, tuple(sound[0]), alike, len(sound), blanks) if 2 * alike > len(sound) else None
