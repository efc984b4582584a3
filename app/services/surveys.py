"""What takes a while to count about a dataset: asked for here, counted by app.survey, read here again.

A dataset's surveys are its near copies, its overlap with the imported benchmarks, and how long its rows are in the
tokens of a base model. Those that wait are counted one at a time by app.surveyor.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from app.services import tokenizers
from app.services.findings import Findings, NearCopies, Overlaps, TokenCounts
from db import files
from db import models as rows
from db.models import OWNER, Dataset, now
from db.session import session
from prolora.base_models import CATALOGUE, STUDIO, find
from prolora.dataset import lengths as token_lengths
from prolora.dataset import read_rows
from prolora.dataset.lengths import Cut, Lengths
from prolora.dataset.records import limit

NEAR, OVERLAP, LENGTHS = "near", "overlap", "lengths:"
WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"


@dataclass(frozen=True)
class Survey:
    """One kind of count, and what it found when it is done."""

    kind: str
    state: str
    done: float
    error: str | None
    found: Findings | None
    updated_at: datetime

    @property
    def finished(self) -> bool:
        return self.state not in (WAITING, RUNNING)


def lengths_on(base_model: str) -> str:
    """The kind of the survey that counts tokens on a base; raises when there is no such base."""
    return LENGTHS + find(base_model).name


def bases() -> list[str]:
    """The bases on which rows can be counted here: those whose tokenizer lies on this machine."""
    return [base.name for base in CATALOGUE if base.architecture in STUDIO and tokenizers.folder(base)]


def overlapped(found: Iterable[Survey]) -> tuple[str, ...]:
    """The benchmarks with which rows overlap, as far as that has been counted."""
    counted = [survey.found for survey in found if isinstance(survey.found, Overlaps)]
    return tuple(each.benchmark for overlaps in counted for each in overlaps.benchmarks if each.rows)


def start(dataset_id: int, base_models: Iterable[str] = ()) -> None:
    """Ask for a dataset's near copies, its overlaps, and its lengths on these bases, unless they are known already."""
    for kind in (NEAR, OVERLAP, *map(lengths_on, base_models)):
        ask(dataset_id, kind)


def ask(dataset_id: int, kind: str) -> None:
    """Ask for one; what failed, was stopped or has lost its files is counted anew."""
    with suppress(IntegrityError), session() as s:  # asked for by somebody else at the same moment
        found = s.scalar(select(rows.Survey).filter_by(dataset_id=dataset_id, kind=kind))
        dataset = s.get(Dataset, dataset_id)
        if dataset is None:
            return
        if found is None:
            s.add(rows.Survey(dataset_id=dataset_id, kind=kind, state=WAITING))
        elif found.state in (FAILED, STOPPED) or (found.state == DONE and not _kept(dataset.content_hash, kind)):
            found.state, found.done, found.error, found.updated_at = WAITING, 0.0, None, now()


def stop(dataset_id: int, kind: str) -> None:
    """What has not ended is given up; its process notices within moments."""
    unfinished = rows.Survey.state.in_((WAITING, RUNNING))
    with session() as s:
        ours = update(rows.Survey).where(rows.Survey.dataset_id == dataset_id, rows.Survey.kind == kind, unfinished)
        s.execute(ours.values(state=STOPPED, updated_at=now()))


def again(kind: str) -> None:
    """Count one kind anew for every dataset that has been asked about it."""
    with session() as s:
        asked = update(rows.Survey).where(rows.Survey.kind == kind, rows.Survey.state != STOPPED)
        s.execute(asked.values(state=WAITING, done=0.0, error=None, updated_at=now()))


def of(dataset_id: int) -> tuple[Survey, ...]:
    """In the order in which they were asked for."""
    with session() as s:
        ours = select(rows.Survey).join(Dataset).where(Dataset.id == dataset_id, Dataset.owner_id == OWNER)
        return tuple(_survey(each) for each in s.scalars(ours.order_by(rows.Survey.id)))


def lengths(dataset_id: int, base_model: str) -> Lengths | None:
    """How long each row is on a base; None while it has not been counted."""
    digest = _content_hash(dataset_id)
    path = lengths_file(digest, base_model) if digest else None
    return token_lengths.read(path) if path and path.exists() else None


def trained_lengths(dataset_id: int, base_model: str) -> Lengths | None:
    """Of the rows that are trained on; None while they have not been counted."""
    digest, counted = _content_hash(dataset_id), lengths(dataset_id, base_model)
    if digest is None or counted is None:
        return None
    lots = read_rows(files.dataset_rows(digest)).lots
    return counted.of(lots >= limit(lots))


def cut(dataset_id: int, base_model: str, cutoff: int) -> Cut | None:
    """What a cut-off does to the rows that are trained on; None while their lengths have not been counted."""
    counted = trained_lengths(dataset_id, base_model)
    return None if counted is None else counted.at(cutoff)


def near_copies(dataset_id: int) -> NDArray[np.void] | None:
    """All of them, as (row, original, similarity) in the rows' order; None while they have not been counted."""
    digest = _content_hash(dataset_id)
    return _array(files.survey_near(digest)) if digest else None


def overlapping(dataset_id: int, benchmark: str) -> NDArray[np.int64] | None:
    """All rows that share a run of words with a benchmark; None while they have not been counted."""
    digest = _content_hash(dataset_id)
    return _array(files.survey_overlap(digest, benchmark)) if digest else None


def lengths_file(content_hash: str, base_model: str) -> Path | None:
    """Where the lengths of a dataset's rows on a base lie; None where its tokenizer is not on this machine."""
    folder = tokenizers.folder(find(base_model))
    return files.survey_lengths(content_hash, tokenizers.fingerprint(folder)) if folder else None


def _array(path: Path) -> NDArray[Any] | None:
    found: NDArray[Any] | None = np.load(path, mmap_mode="r", allow_pickle=False) if path.exists() else None
    return found


def _kept(content_hash: str, kind: str) -> bool:
    """Whether the files of a survey that is done are still those of today's tokenizer."""
    if not kind.startswith(LENGTHS):
        return True
    path = lengths_file(content_hash, kind.removeprefix(LENGTHS))
    return path is not None and path.exists()


def _content_hash(dataset_id: int) -> str | None:
    with session() as s:
        ours = select(Dataset.content_hash).where(Dataset.id == dataset_id, Dataset.owner_id == OWNER)
        return s.scalar(ours)


def _survey(row: rows.Survey) -> Survey:
    found = _found(row.kind, row.result) if row.state == DONE else None
    return Survey(row.kind, row.state, row.done, row.error, found, row.updated_at)


def _found(kind: str, result: dict[str, Any]) -> Findings:
    if kind == NEAR:
        return NearCopies.from_json(result)
    return Overlaps.from_json(result) if kind == OVERLAP else TokenCounts.from_json(result)
