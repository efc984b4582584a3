"""What a Parquet file's pages unpack to, by their own headers: a footer says what it likes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, BinaryIO

HEADER = 1 << 16  # bytes of a page's header at most, its statistics included
PAGES_LIMIT = 1_000_000  # of one file
CHUNKS_LIMIT = 100_000  # columns, each counted once for every row group
FOOTER_VALUES, HEADER_VALUES = 2_000_000, 1_000  # numbers, texts, structures and lists
NESTING = 8  # of structures and lists
VARINT = 10  # bytes of a number at most


@dataclass(frozen=True)
class Pages:
    """Of one column, or of several together."""

    total: int = 0  # bytes
    largest: int = 0  # bytes of the largest page of each column
    values: int = 0  # of the page that has most

    def beside(self, other: "Pages") -> "Pages":
        return Pages(self.total + other.total, self.largest + other.largest, max(self.values, other.values))


def measured(file: BinaryIO, footer: bytes) -> tuple[int, Pages]:
    """(rows that a file says it has, what its pages hold). Raises ValueError where footer or headers make no sense.

    The footer is read here and first, since what pyarrow makes of one is many times larger than it, and some damages
    to one end the process.
    """
    said = Thrift(footer, FOOTER_VALUES).structure()
    groups = [_list(group, 1) for group in _list(said, 4)]
    if max(sum(map(len, groups)), len(_list(said, 2))) > CHUNKS_LIMIT:
        raise ValueError("too many columns")
    columns: dict[int, Pages] = {}
    left = PAGES_LIMIT
    for group in groups:
        for column, chunk in enumerate(group):
            found = columns.get(column, Pages())
            for size, values in _headers(file, _structure(chunk, 3)):
                left -= 1
                if left < 0:
                    raise ValueError("too many pages")
                found = Pages(found.total + size, max(found.largest, size), max(found.values, values))
            columns[column] = found
    return _size(said, 3), reduce(Pages.beside, columns.values(), Pages())


def _headers(file: BinaryIO, chunk: dict[int, Any]) -> Iterator[tuple[int, int]]:
    """(unpacked bytes, values) of each page."""
    at = min(_size(chunk, 9), _size(chunk, 11) if chunk.get(11) else _size(chunk, 9))  # of its data, or its dictionary
    end = at + _size(chunk, 7)
    while at < end:
        file.seek(at)
        header = Thrift(file.read(HEADER))
        page = header.structure()
        about = 5 if 5 in page else 8  # a data page of version 1, or 2
        yield _size(page, 2), _size(_structure(page, about), 1) if about in page else 0
        at += header.at + _size(page, 3)


def _list(fields: dict[int, Any], number: int) -> list[dict[int, Any]]:
    found = fields.get(number)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError("a footer without its columns")
    return found


def _structure(fields: dict[int, Any], number: int) -> dict[int, Any]:
    found = fields.get(number)
    if not isinstance(found, dict):
        raise ValueError("a column or page without its description")
    return found


def _size(fields: dict[int, Any], number: int) -> int:
    size = fields.get(number)
    if type(size) is not int or size < 0:
        raise ValueError("a column or page without its sizes")
    return size


class Thrift:
    """Reads Thrift's compact protocol, in which footers and page headers are written."""

    def __init__(self, data: bytes, most: int = HEADER_VALUES) -> None:
        self.data, self.at, self.left = data, 0, most

    def structure(self, depth: int = 0) -> dict[int, Any]:
        """Field number -> value. Raises ValueError."""
        fields: dict[int, Any] = {}
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._number()
            fields[number] = self._value(kind & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        self.left -= 1
        if depth > NESTING or self.left < 0:
            raise ValueError("nested too deeply, or too long")
        if kind in (1, 2):  # true and false, which have no bytes of their own
            return kind == 1
        if kind in (4, 5, 6):
            return self._number()
        if kind == 12:
            return self.structure(depth + 1)
        if kind in (9, 10):
            return self._several(depth + 1)
        sizes = {3: 1, 7: 8}  # a byte, a double
        self._skip(sizes[kind] if kind in sizes else self._text(kind))
        return None

    def _several(self, depth: int) -> list[Any]:
        head = self._byte()
        count, kind = head >> 4, head & 15
        if count == 15:
            count = self._varint()
        if kind in (1, 2):  # in a list they have a byte each
            kind = 3
        return [self._value(kind, depth) for _ in range(count)]

    def _text(self, kind: int) -> int:
        if kind != 8:
            raise ValueError("an unknown type")
        return self._varint()

    def _number(self) -> int:
        found = self._varint()
        return (found >> 1) ^ -(found & 1)

    def _varint(self) -> int:
        found = 0
        for shift in range(0, 7 * VARINT, 7):
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
        raise ValueError("a number without end")

    def _byte(self) -> int:
        self._skip(1)
        return self.data[self.at - 1]

    def _skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self.data):
            raise ValueError("a header that is cut off")
