"""The account of a file while it is read: what was kept and rejected, counted and written away."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from prolora.dataset.batch import Batch
from prolora.dataset.container import Container
from prolora.dataset.encodings import mark_of, written_back
from prolora.dataset.forms import Mapping
from prolora.dataset.records import Reject, limit
from prolora.dataset.stored import Index, RowsFile

SHOWN_REJECTS = 200
MOST_FIELDS = 1_000  # different names that are counted


@dataclass(frozen=True)
class Report:
    """What came of every row of the file."""

    container: str  # JSONL, JSON, CSV, TSV, ...
    encoding: str  # of its text, as Python calls it; nothing where it has none
    unit: str  # what a row's place is counted in: line or row
    suffix: str  # of a file of its rejects
    evidence: tuple[str, ...]  # how the file was understood, in sentences
    columns: dict[str, int]  # field name -> rows that have it
    first: tuple[dict[str, str], ...]  # rows as they came, shortened
    mapping: Mapping | None  # None where nobody knows what the fields mean; then no row is kept
    read: int
    kept: int
    held_out: int
    repeats: int  # kept rows that say what an earlier one says
    reasons: dict[str, int]  # code -> rejects
    repaired: dict[str, int]  # code -> rows that were mended
    offered: dict[str, int]  # code -> rows that could be mended
    content_hash: str  # of the kept rows
    rejects: tuple[Reject, ...]  # the first of them

    @property
    def rejected(self) -> int:
        return sum(self.reasons.values())

    @property
    def form(self) -> str:
        return self.mapping.form if self.mapping else ""

    @property
    def fields(self) -> dict[str, str]:
        """The form's parts, each with the file's own field that plays it."""
        return self.mapping.fields if self.mapping else {}


@dataclass(frozen=True)
class Sink:
    """Where the rows go, the reasons of the rejects as JSON lines, and the rejects as they stand in the file."""

    rows: BinaryIO
    rejects: BinaryIO
    originals: BinaryIO
    path: Path | None = None  # of the rows, where other processes may write them


class Tally:
    """Adds up batches in the order of the file."""

    def __init__(self, container: Container, sink: Sink) -> None:
        self.container, self.sink = container, sink
        self.rows = RowsFile(sink.rows)
        self.read = 0
        self._columns, self._reasons = Counter[str](), Counter[str]()
        self._repaired, self._offered = Counter[str](), Counter[str]()
        self._first: tuple[dict[str, str], ...] = ()
        self._rejects: list[Reject] = []
        self._digest = hashlib.sha256()

    def add(self, batch: Batch) -> None:
        self._first = self._first or batch.first
        self.read += batch.read
        for name, count in batch.columns.items():
            if name in self._columns or len(self._columns) < MOST_FIELDS:
                self._columns[name] += count
        self._repaired += batch.repaired
        self._offered += batch.offered
        self._digest.update(batch.index["digest"].tobytes())
        self.rows.add(batch.lines, batch.index)
        for reject in batch.rejects:
            self._reject(reject)

    def _reject(self, reject: Reject) -> None:
        frame = self.container.frame
        if not self._reasons:
            self.sink.originals.write(mark_of(self.container.encoding))
        self._original((frame.between if self._reasons else frame.before) + reject.original)
        self._reasons[reject.code] += 1
        if len(self._rejects) < SHOWN_REJECTS:
            self._rejects.append(reject)
        told = {name: getattr(reject, name) for name in ("line", "reason", "code", "raw", "field", "repair")}
        self.sink.rejects.write(json.dumps(told, ensure_ascii=False).encode() + b"\n")

    def _original(self, text: bytes) -> None:
        self.sink.originals.write(written_back(text, self.container.encoding))

    def finish(self, mapping: Mapping | None) -> tuple[Report, Index]:
        """The whole account, and the index of the rows that were written."""
        if self._reasons:
            self._original(self.container.frame.after)
        index = self.rows.index()
        return self._report(mapping, index), index

    def _report(self, mapping: Mapping | None, index: Index) -> Report:
        return Report(
            container=self.container.name,
            encoding=self.container.encoding,
            unit=self.container.unit,
            suffix=self.container.frame.suffix,
            evidence=tuple(self.container.evidence),
            columns=dict(self._columns),
            first=self._first,
            mapping=mapping,
            read=self.read,
            kept=len(index),
            held_out=int((index["lot"] < limit(index["lot"])).sum()),
            repeats=len(index) - len(np.unique(index["digest"])),
            reasons=dict(self._reasons),
            repaired=dict(self._repaired),
            offered=dict(self._offered),
            content_hash=self._digest.hexdigest(),
            rejects=tuple(self._rejects),
        )
