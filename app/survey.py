"""The process one survey runs in: `python -m app.survey DATASET_ID KIND`, at the lowest priority.

It says how far it is in the survey's row, and ends as soon as that row is no longer running.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, overload

import numpy as np
from sqlalchemy import select, update

from app.services import benchmarks, surveys, tokenizers
from app.services.findings import EXAMPLES, Contamination, Copy, NearCopies, Overlaps, Shared, TokenCounts
from db import files
from db.models import Dataset, Survey, now
from db.session import session
from prolora.base_models import find
from prolora.chat import ChatTokenizer
from prolora.dataset import Row, StoredRows, lengths, read_rows
from prolora.dataset.near import near_duplicates
from prolora.dataset.overlap import Fingerprints, Overlap, overlaps
from prolora.errors import BaseModelError, StudioError

LOWEST = 19
EVERY = 0.5  # seconds between two notes of progress
LAST = 0.99  # of the progress, until the result is written
COPY = np.dtype([("row", "<i8"), ("original", "<i8"), ("similarity", "<f8")])
Progress = Callable[[int], None]


class Stopped(Exception):  # noqa: N818 - an ending, not a fault
    """The survey has been stopped, or is to begin anew."""


def main(dataset_id: int, kind: str) -> None:
    """Count, and leave the survey done or failed."""
    try:
        found = count(dataset_id, kind)
        move(dataset_id, kind, state=surveys.DONE, done=1.0, result=found, error=None)
    except Stopped:
        return
    except Exception as error:  # noqa: BLE001  # whatever it is, the survey has to end and the person to be told
        traceback.print_exception(error)
        fail(dataset_id, kind, explain(error))


def count(dataset_id: int, kind: str) -> dict[str, Any]:
    """The survey's result as JSON; its full lists go into files."""
    with session() as s:
        digest = s.scalar(select(Dataset.content_hash).where(Dataset.id == dataset_id))
    if digest is None:
        raise Stopped
    rows = read_rows(files.dataset_rows(digest))
    note = Noted(dataset_id, kind, rows)
    if kind == surveys.NEAR:
        return asdict(near(rows, files.survey_near(digest), note))
    if kind == surveys.OVERLAP:
        return asdict(overlap(rows, digest, note))
    return asdict(tokens(rows, digest, kind.removeprefix(surveys.LENGTHS), note))


def near(rows: Sequence[Row], path: Path, progress: Progress) -> NearCopies:
    """System messages are left out: many rows share one that is longer than what they say."""
    found = near_duplicates(Texts(rows, said), progress)
    table = np.empty(found.count, COPY)
    table["row"], table["original"], table["similarity"] = found.copies, found.originals, found.similarities
    save(path, table)
    examples = (
        Copy(row, rows[row].line, original, rows[original].line, similarity)
        for row, original, similarity in table[:EXAMPLES].tolist()
    )
    return NearCopies(len(rows), found.count, tuple(examples))


def overlap(rows: Sequence[Row], digest: str, progress: Progress) -> Overlaps:
    prints = {each.name: benchmarks.fingerprints(each.name) for each in benchmarks.imported()}
    found = overlaps(Texts(rows, everything), prints, progress) if prints else ()
    for each in found:
        save(files.survey_overlap(digest, each.benchmark), each.indices)
    return Overlaps(len(rows), tuple(contamination(rows, each, prints[each.benchmark]) for each in found))


def contamination(rows: Sequence[Row], found: Overlap, prints: Fingerprints) -> Contamination:
    shown = (Shared(hit.text, rows[hit.text].line, hit.item, hit.words) for hit in found.hits[:EXAMPLES])
    return Contamination(found.benchmark, found.texts, found.items, prints.total, prints.short, tuple(shown))


def tokens(rows: Sequence[Row], digest: str, base_model: str, progress: Progress) -> TokenCounts:
    base = find(base_model)
    folder, path = tokenizers.folder(base), surveys.lengths_file(digest, base_model)
    if folder is None or path is None:
        raise BaseModelError(
            f"The tokenizer of {base.title} is not on this machine yet. The first training on it fetches it, or "
            f"`hf download {base.source}`; then count again."
        )
    counted = lengths.count(ChatTokenizer(folder), rows, progress)
    with files.replace(path) as file:
        lengths.write(file, counted)
    return TokenCounts(
        base_model=base_model,
        rows=len(rows),
        tokens=int(counted.total.sum(dtype=np.int64)),
        trained=int(counted.trained.sum(dtype=np.int64)),
        longest=int(counted.total.max(initial=0)),
    )


def said(row: Row) -> str:
    return "\n".join(message["content"] for message in row.messages if message["role"] != "system")


def everything(row: Row) -> str:
    return "\n".join(message["content"] for message in row.messages)


class Texts(Sequence[str]):
    """Rows as texts, each made when it is asked for."""

    def __init__(self, rows: Sequence[Row], text: Callable[[Row], str]) -> None:
        self.rows, self.text = rows, text

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "Texts": ...
    def __getitem__(self, at: int | slice) -> "str | Texts":
        return Texts(self.rows[at], self.text) if isinstance(at, slice) else self.text(self.rows[at])

    def __iter__(self) -> Iterator[str]:
        return map(self.text, self.rows)


class Noted:
    """Progress in the survey's row, at most every half a second; raises Stopped when the row is no longer running."""

    def __init__(self, dataset_id: int, kind: str, rows: StoredRows) -> None:
        self.dataset_id, self.kind, self.rows = dataset_id, kind, rows
        self.last = time.monotonic()

    def __call__(self, done: int) -> None:
        if time.monotonic() - self.last >= EVERY:
            move(self.dataset_id, self.kind, done=min(done / len(self.rows), LAST))
            self.rows.release()
            self.last = time.monotonic()


def move(dataset_id: int, kind: str, **values: Any) -> None:
    """Change the row of a survey that is running; raises Stopped when it is not."""
    running = update(Survey).where(
        Survey.dataset_id == dataset_id, Survey.kind == kind, Survey.state == surveys.RUNNING
    )
    with session() as s:
        if s.scalar(running.values(updated_at=now(), **values).returning(Survey.id)) is None:
            raise Stopped


def fail(dataset_id: int, kind: str, sentence: str) -> None:
    try:
        move(dataset_id, kind, state=surveys.FAILED, error=sentence)
    except Stopped:
        return


def explain(error: Exception) -> str:
    if isinstance(error, StudioError):
        return str(error)
    if isinstance(error, MemoryError):
        return "Memory ran out while this was counted. Close other programs and count again."
    return f"This could not be counted ({type(error).__name__}: {error}). The log has more: {files.survey_log()}"


def save(path: Path, array: "np.ndarray[Any, Any]") -> None:
    with files.replace(path) as aside, aside.open("wb") as file:
        np.save(file, array, allow_pickle=False)


if __name__ == "__main__":
    os.nice(LOWEST)
    main(int(sys.argv[1]), sys.argv[2])
