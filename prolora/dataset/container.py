"""What a file is on the outside: JSONL, JSON over the whole file, or a table, each giving its rows one by one."""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from prolora.dataset.element import Element


@dataclass(frozen=True)
class Frame:
    """What stands before, between and after the rows of such a file, so that rejects can be written as one."""

    before: bytes = b""
    between: bytes = b"\n"
    after: bytes = b"\n"


class Container(Protocol):
    """A file that is understood on the outside. `evidence` and `frame` are known once all rows have been read."""

    @property
    def name(self) -> str: ...

    @property
    def evidence(self) -> Sequence[str]:
        """Sentences on how it was told."""

    @property
    def frame(self) -> Frame: ...

    def rows(self) -> Iterator[Element]:
        """The rows in order. Raises DatasetError where the file breaks."""


def open_text(path: Path) -> BinaryIO:
    """The file behind its byte order mark, if it has one."""
    file = path.open("rb")
    if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        file.seek(0)
    return file
