"""What a file is on the outside: JSONL, a JSON list, a table, Parquet or text, each giving its rows in blocks."""

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

from prolora.dataset.element import Block, Element, Parsed, Unit

ROWS_A_BLOCK = 500


@dataclass(frozen=True)
class Frame:
    """What stands before, between and after the rows of such a file, so that rejects can be written as one."""

    extension: str
    before: bytes = b""
    between: bytes = b"\n"
    after: bytes = b"\n"


class Container(Protocol):
    """A file that is understood on the outside. Everything but `blocks` is known once they have been read."""

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> Unit:
        """What the numbers of its rows count."""

    @property
    def evidence(self) -> tuple[str, ...]:
        """Sentences on how it was told."""

    @property
    def frame(self) -> Frame: ...

    def blocks(self) -> Iterator[tuple[Block, int]]:
        """The rows in order, each block with the bytes read so far. Raises DatasetError where the file breaks."""


def in_blocks(found: Iterable[Element]) -> Iterator[Parsed]:
    rest = iter(found)
    while some := tuple(islice(rest, ROWS_A_BLOCK)):
        yield Parsed(some)


def open_text(path: Path) -> BinaryIO:
    """The file behind its byte order mark, if it has one."""
    file = path.open("rb")
    if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        file.seek(0)
    return file
