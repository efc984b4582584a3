"""Rows on disk: one JSON line each, and an index by which any of them is found without reading the others."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np
import orjson
from numpy.typing import NDArray

from prolora.chat import Message
from prolora.dataset.records import DIGEST, Lots, Row, canonical_of, digest_of, draw, lots_of

# Where a row's line starts and how long it is, its line in the file it came from, its lot, what it says, and whether
# it was repaired.
ENTRY = np.dtype(
    {
        "names": ["start", "size", "line", "lot", "digest", "repaired"],
        "formats": ["<u8", "<u4", "<u4", "<f8", f"S{DIGEST}", "?"],
    }
)
Index = NDArray[np.void]
BLOCK = 10_000  # rows that are written, or indexed anew, at a time


class RowsFile:
    """A file of rows that is being written, with its index."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size = file, 0
        self._parts: list[Index] = []

    def add(self, lines: bytes, index: Index) -> None:
        """Rows in a piece, whose index counts from the piece's beginning; no lines where they have been written."""
        self.file.write(lines)
        index["start"] += self.size
        self.size += int(index["size"].sum())
        self._parts.append(index)

    def index(self) -> Index:
        return np.concatenate(self._parts) if self._parts else np.empty(0, ENTRY)


class StoredRows(Sequence[Row]):
    """The rows of a file, each read when it is asked for."""

    def __init__(self, text: mmap.mmap | bytes, entries: Index) -> None:
        self.text, self.entries = text, entries

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> StoredRows: ...
    def __getitem__(self, at: int | slice) -> Row | StoredRows:
        if isinstance(at, slice):
            return StoredRows(self.text, self.entries[at])
        return _row(self.line(at))

    def __iter__(self) -> Iterator[Row]:
        return (self[at] for at in range(len(self)))

    def line(self, at: int) -> bytes:
        """A row as it is stored."""
        entry = self.entries[at]
        start = int(entry["start"])
        return self.text[start : start + int(entry["size"])]

    def release(self) -> None:
        """Give back the memory of what has been read: pages of a mapped file count until the system needs them."""
        if isinstance(self.text, mmap.mmap):
            self.text.madvise(mmap.MADV_DONTNEED)

    def take(self, places: NDArray[np.int64]) -> StoredRows:
        """The rows at these places, in this order."""
        return StoredRows(self.text, self.entries[places])

    @property
    def lots(self) -> Lots:
        lots: Lots = self.entries["lot"]
        return lots

    @property
    def content_hash(self) -> str:
        """Of what is said, in order."""
        return hashlib.sha256(self.entries["digest"].tobytes()).hexdigest()


class Packed:
    """Rows as the lines of a file, with their index; each is written at once, so that its memory serves the next."""

    def __init__(self) -> None:
        self._lines, self._draws, self._digests = list[bytes](), list[bytes](), list[bytes]()
        self._numbers, self._repaired = list[int](), list[bool]()

    def add(self, messages: Sequence[Message], number: int, repaired: tuple[str, ...]) -> None:
        """The row that began in the line of this number."""
        canonical = canonical_of(messages)
        codes = b',"repaired":' + orjson.dumps(repaired) if repaired else b""
        self._lines.append(b'{"messages":%b,"line":%d%b}\n' % (canonical, number, codes))
        self._numbers.append(number)
        self._draws.append(draw(messages))
        self._digests.append(digest_of(canonical))
        self._repaired.append(bool(repaired))

    def lines(self) -> bytes:
        return b"".join(self._lines)

    def index(self) -> Index:
        index = np.zeros(len(self._lines), ENTRY)
        index["size"] = [len(line) for line in self._lines]
        index["line"], index["digest"], index["repaired"] = self._numbers, self._digests, self._repaired
        index["lot"] = lots_of(b"".join(self._draws))
        index["start"][1:] = np.cumsum(index["size"][:-1])
        return index


def pack(rows: Iterable[Row]) -> tuple[bytes, Index]:
    packed = Packed()
    for row in rows:
        packed.add(row.messages, row.line, row.repaired)
    return packed.lines(), packed.index()


def write_rows(path: Path, rows: Iterable[Row]) -> StoredRows:
    """Raises OSError."""
    with path.open("wb") as file:
        store, block = RowsFile(file), list[Row]()
        for row in rows:
            block.append(row)
            if len(block) == BLOCK:
                store.add(*pack(block))
                block.clear()
        store.add(*pack(block))
    np.save(index_of(path), store.index())
    return read_rows(path)


def copy_rows(path: Path, parts: Iterable[StoredRows], watch: Callable[[int], None]) -> StoredRows:
    """The rows of all parts in one file; `watch` is told how many have been written."""
    with path.open("wb") as file:
        store, count = RowsFile(file), 0
        for part in parts:
            for first in range(0, len(part), BLOCK):
                entries = part.entries[first : first + BLOCK].copy()
                lines = [part.line(at) for at in range(first, first + len(entries))]
                entries["start"] = np.cumsum([0, *map(len, lines[:-1])])
                store.add(b"".join(lines), entries)
                count += len(entries)
                watch(count)
    np.save(index_of(path), store.index())
    return read_rows(path)


def read_rows(path: Path) -> StoredRows:
    """The rows of a file; one without an index, as older studios wrote them, is given one in memory."""
    if not path.stat().st_size:
        return StoredRows(b"", np.empty(0, ENTRY))
    with path.open("rb") as file:
        text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if index_of(path).exists():
        return StoredRows(text, np.load(index_of(path), mmap_mode="r", allow_pickle=False))
    return StoredRows(text, np.concatenate(list(_indexed(text))))


def index_of(path: Path) -> Path:
    return path.with_suffix(".npy")


def _row(line: bytes) -> Row:
    stored = orjson.loads(line)
    return Row(tuple(stored["messages"]), stored["line"], tuple(stored.get("repaired", ())))


def _indexed(text: mmap.mmap) -> Iterator[Index]:
    start = 0
    while line := text.readline():
        _, index = pack([_row(line)])
        index["start"], index["size"] = start, len(line)
        start += len(line)
        yield index
