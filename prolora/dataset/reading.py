"""Read a whole file: every row is kept or rejected, and none is lost in between."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prolora.dataset.container import Container, Frame
from prolora.dataset.element import SHOWN, Element, printable, text_of
from prolora.dataset.forms import BadRow, Mapping, conversation, guess
from prolora.dataset.records import Reject, Row, hash_of
from prolora.dataset.source import open_file
from prolora.errors import DatasetError

SHOWN_ROWS = 5


@dataclass(frozen=True)
class Look:
    """A first look at a file, for choosing what its fields mean."""

    container: str  # JSONL, JSON, CSV or TSV
    evidence: tuple[str, ...]  # how that was told, in sentences
    columns: dict[str, int]  # field name -> rows that have it, over the whole file
    guess: Mapping | None
    first_rows: tuple[dict[str, Any], ...]
    rows: int


@dataclass(frozen=True)
class Report:
    """What came of every row of the file."""

    mapping: Mapping
    container: str  # JSONL, JSON, CSV or TSV
    evidence: tuple[str, ...]  # how that was told, in sentences
    frame: Frame  # of the file, for its rejects
    rows: tuple[Row, ...]
    rejects: tuple[Reject, ...]
    content_hash: str  # of the kept rows

    @property
    def read(self) -> int:
        return len(self.rows) + len(self.rejects)

    @property
    def repeats(self) -> int:
        """Kept rows that say what an earlier one says."""
        return len(self.rows) - len({row.content_hash for row in self.rows})

    def write_rejects(self, path: Path) -> None:
        """The rejects as they stand in the file, as a file of its kind: to be mended and read again."""
        rows = self.frame.between.join(reject.original for reject in self.rejects)
        path.write_bytes(self.frame.before + rows + self.frame.after if rows else b"")


def look(path: Path) -> Look:
    return _look(*_open(path))


def read(path: Path, mapping: Mapping | None = None) -> Report:
    """Every row as canonical messages, or the reason why not; without a mapping, by the best guess."""
    container, found = _open(path)
    if mapping is None:
        found = list(found)
        mapping = _look(container, found).guess
    if mapping is None:
        raise DatasetError(
            f"No field of {path.name} has a known name. Say which field is the question and which the answer."
        )
    return _report(container, found, mapping)


def _open(path: Path) -> tuple[Container, Iterable[Element]]:
    container = open_file(path)
    found = container.rows()
    first = next(found, None)
    if first is None:
        raise DatasetError(f"{path.name} holds an empty list or table. Choose a file with at least one row.")
    return container, _chain(first, found)


def _chain(first: Element, rest: Iterator[Element]) -> Iterator[Element]:
    yield first
    yield from rest


def _look(container: Container, found: Iterable[Element]) -> Look:
    columns: Counter[str] = Counter()
    first_rows: list[dict[str, Any]] = []
    rows = 0
    for element in found:
        rows += 1
        if isinstance(element.value, dict):
            columns.update(map(printable, element.value))
            if len(first_rows) < SHOWN_ROWS:
                first_rows.append(json.loads(printable(json.dumps(element.value, ensure_ascii=False))))
    if not columns:
        raise DatasetError("The rows of this file are not objects with named fields. Write each as an object.")
    return Look(container.name, tuple(container.evidence), dict(columns), guess(columns), tuple(first_rows), rows)


def _report(container: Container, found: Iterable[Element], mapping: Mapping) -> Report:
    rows: list[Row] = []
    rejects: list[Reject] = []
    for element in found:
        kept = _row(element, mapping)
        if isinstance(kept, Row):
            rows.append(kept)
        else:
            rejects.append(kept)
    return Report(
        mapping=mapping,
        container=container.name,
        evidence=tuple(container.evidence),
        frame=container.frame,
        rows=tuple(rows),
        rejects=tuple(rejects),
        content_hash=hash_of(rows),
    )


def _row(element: Element, mapping: Mapping) -> Row | Reject:
    try:
        if element.problem:
            raise BadRow(*element.problem)
        if not isinstance(element.value, dict):
            raise BadRow("not-an-object", "is not an object with named fields. Write it as one")
        return Row(conversation(element.value, mapping).messages, element.line)
    except BadRow as error:
        reason = printable(f"Line {element.line} {error} or leave the row out.")
        raw = printable(text_of(element.raw[:SHOWN]))
        return Reject(element.line, reason, error.code, raw, printable(error.field), element.raw)
