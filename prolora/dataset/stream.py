"""A stored file as a stream of UTF-8: unpacked and recoded while it is read, with a count of what has been read."""

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from prolora.dataset.encodings import recoded

Stream: TypeAlias = "io.BufferedReader[Any]"
READ = 1 << 20  # bytes asked of the disk at a time


class Meter(io.FileIO):
    """A stored file that knows which share of it has been read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.count, self.size = 0, os.fstat(self.fileno()).st_size

    def readinto(self, buffer: "memoryview") -> int | None:  # type: ignore[override]
        read = super().readinto(buffer)
        self.count += read or 0
        return read

    @property
    def share(self) -> float:
        return min(self.count / self.size, 1.0) if self.size else 1.0


class Packing(Protocol):
    """What a file is packed in."""

    @property
    def name(self) -> str:
        """in gzip, in zip, or nothing."""

    @property
    def inner(self) -> str:
        """The name of the packed file."""

    def open(self, meter: Meter) -> Stream:
        """Raises DatasetError, here and from its reads, where the packing is damaged or hides a bomb."""


@dataclass(frozen=True)
class Bare:
    """Not packed."""

    inner: str
    name: str = ""

    def open(self, meter: Meter) -> Stream:
        return io.BufferedReader(meter, READ)


@dataclass
class Source:
    """A stored file, and how it is unpacked and recoded. Every `open` starts its progress anew."""

    path: Path
    packing: Packing
    encoding: str = "utf-8"
    evidence: tuple[str, ...] = ()
    is_presumed: bool = False  # nobody has looked at all of its bytes to tell the encoding
    _meter: Meter | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_plain(self) -> bool:
        """The stored file is the text itself."""
        return not self.packing.name and self.encoding == "utf-8"

    @property
    def progress(self) -> float:
        return self._meter.share if self._meter else 0.0

    def open(self) -> Stream:
        """As UTF-8, behind its byte order mark."""
        return recoded(self.open_bytes(), self.encoding)

    def open_bytes(self) -> Stream:
        """Unpacked, but not recoded."""
        self._meter = Meter(self.path)
        return self.packing.open(self._meter)
