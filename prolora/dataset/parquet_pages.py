"""What a Parquet file's pages unpack to, by their own headers: a footer says what it likes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

HEADER = 1 << 16  # bytes of a page's header at most, its statistics included
PAGES_LIMIT = 1_000_000  # of one file
NESTING = 8  # of structures in a header
VARINT = 10  # bytes of a number at most


@dataclass(frozen=True)
class Pages:
    """Of one column, or of several together."""

    total: int = 0  # bytes
    largest: int = 0  # bytes of the largest page of each column
    values: int = 0  # of the page that has most

    def beside(self, other: "Pages") -> "Pages":
        return Pages(self.total + other.total, self.largest + other.largest, max(self.values, other.values))


def pages_of(file: BinaryIO, metadata: Any) -> Pages:
    """Over all columns. Raises ValueError where the headers make no sense."""
    left, found = PAGES_LIMIT, Pages()
    for column in range(metadata.num_columns):
        total = largest = values = 0
        for group in range(metadata.num_row_groups):
            for size, count in _headers(file, metadata.row_group(group).column(column)):
                left -= 1
                if left < 0:
                    raise ValueError("too many pages")
                total, largest, values = total + size, max(largest, size), max(values, count)
        found = found.beside(Pages(total, largest, values))
    return found


def _headers(file: BinaryIO, chunk: Any) -> Iterator[tuple[int, int]]:
    """(unpacked bytes, values) of each page."""
    at = chunk.dictionary_page_offset or chunk.data_page_offset  # a dictionary, where there is one, comes first
    end = at + chunk.total_compressed_size
    while at < end:
        file.seek(at)
        header = Thrift(file.read(HEADER))
        page = header.structure()
        about = page.get(5, page.get(8, {1: 0}))  # data pages of version 1 and 2
        yield _size(page, 2), _size(about, 1)
        at += header.at + _size(page, 3)


def _size(fields: Any, number: int) -> int:
    size = fields.get(number) if isinstance(fields, dict) else None
    if type(size) is not int or size < 0:
        raise ValueError("a page without its sizes")
    return size


class Thrift:
    """Reads Thrift's compact protocol, in which page headers are written."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def structure(self, depth: int = 0) -> dict[int, Any]:
        """Field number -> value. Raises ValueError."""
        if depth > NESTING:
            raise ValueError("nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._number()
            fields[number] = self._value(kind & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):  # true and false, which have no bytes of their own
            return kind == 1
        if kind in (4, 5, 6):
            return self._number()
        if kind == 12:
            return self.structure(depth + 1)
        sizes = {3: 1, 7: 8}  # a byte, a double
        self._skip(sizes[kind] if kind in sizes else self._text(kind))
        return None

    def _text(self, kind: int) -> int:
        if kind != 8:
            raise ValueError("a list or an unknown type in a page's header")
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
