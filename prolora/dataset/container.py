"""What a file is on the outside: JSONL, JSON over the whole file, a table, text, each giving its rows one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prolora.dataset.element import Element
from prolora.dataset.stream import Source


@dataclass(frozen=True)
class Frame:
    """What stands before, between and after the rows of such a file, so that rejects can be written as one."""

    before: bytes = b""
    between: bytes = b"\n"
    after: bytes = b"\n"
    suffix: str = ".jsonl"  # of such a file's name


class Container(Protocol):
    """A file that is understood on the outside. `evidence` and `frame` are known once all rows have been read."""

    @property
    def name(self) -> str:
        """JSONL, JSON, CSV, TSV, text or Parquet, and what it is packed in."""

    @property
    def path(self) -> Path: ...

    @property
    def encoding(self) -> str:
        """Python's name for the file's own; `Element.raw` is UTF-8 all the same. Nothing where it has none."""

    @property
    def unit(self) -> str:
        """What Element.line counts: line or row."""

    @property
    def evidence(self) -> Sequence[str]:
        """Sentences on how it was told."""

    @property
    def frame(self) -> Frame:
        """In UTF-8, as the rows are."""

    @property
    def progress(self) -> float:
        """The share of the stored file that has been read."""

    def rows(self) -> Iterator[Element]:
        """The rows in order. Raises DatasetError where the file breaks."""


class FromSource:
    """What every container of text has from the stored file."""

    kind, unit = "", "line"
    told: Sequence[str] = ()
    frame = Frame()

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def name(self) -> str:
        return self.kind + self.source.packing.name

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def encoding(self) -> str:
        return self.source.encoding

    @property
    def evidence(self) -> Sequence[str]:
        return (*self.source.evidence, *self.told)

    @property
    def progress(self) -> float:
        return self.source.progress
