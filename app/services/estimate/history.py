"""What the rows say: finished runs with their peaks and speeds, the workers' cards, and a dataset's lengths."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services import surveys
from app.services.estimate.memory import Measured, formula, kind_of
from app.services.estimate.pace import Speed
from db import files
from db.models import OWNER, Dataset, Job, Metric, Status, Survey
from db.session import session
from prolora.base_models import Shapes, find
from prolora.errors import StudioError
from prolora.memory import Kind, knows
from prolora.plan import Plan

REMEMBERED = 50  # of the newest runs; older ones say little of today's machines


@dataclass(frozen=True)
class Past:
    """What finished runs tell of the next one."""

    peaks: dict[Kind, tuple[Measured, ...]]
    speeds: tuple[Speed, ...]


@dataclass(frozen=True)
class Rows:
    """What of a dataset a run's cost depends on."""

    trained: int
    tokens: int  # of all rows that are trained on, once through, up to the cut-off
    longest: int  # tokens of the longest of them, up to the cut-off
    held_out_bytes: int
    counted: bool  # or taken to be as long as the cut-off, every one


@dataclass(frozen=True)
class _Run:
    plan: Plan
    shapes: Shapes
    device: str
    gpus: int
    longest: int
    peak: int | None
    speed: float | None


def past() -> Past:
    with session() as s:
        found = _runs(s)
    peaks: dict[Kind, list[Measured]] = {"cuda": [], "cpu": []}
    for run in found:
        if run.peak and knows(run.shapes):
            counted = formula(run.plan, run.shapes, run.longest, run.device, run.gpus).total
            peaks[kind_of(run.device)].append(Measured(counted, run.peak))
    speeds = tuple(
        Speed(run.plan.base_model, run.shapes.base_parameters, run.plan, run.device, run.gpus, run.speed)
        for run in found
        if run.speed
    )
    return Past({kind: tuple(each) for kind, each in peaks.items()}, speeds)


def rows_of(dataset_id: int, base_model: str, cutoff: int) -> Rows:
    """Raises for a dataset that is not there."""
    with session() as s:
        dataset = s.get(Dataset, dataset_id)
        if dataset is None or dataset.owner_id != OWNER:
            raise StudioError(f"There is no dataset number {dataset_id}. Choose another.")
        kept, held_out, digest = dataset.kept, dataset.held_out, dataset.content_hash
    trained = kept - held_out
    path = files.dataset_rows(digest)
    size = path.stat().st_size * held_out // max(kept, 1) if path.is_file() else 0
    counted = surveys.trained_lengths(dataset_id, base_model)
    if counted is None:
        return Rows(trained, trained * cutoff, cutoff, size, counted=False)
    teaching = np.minimum(counted.total[~counted.untrained(cutoff)], cutoff)
    return Rows(len(teaching), int(teaching.sum(dtype=np.int64)), int(teaching.max(initial=1)), size, counted=True)


def _runs(s: Session) -> list[_Run]:
    wanted = (
        select(Job)
        .where(Job.owner_id == OWNER, Job.status == Status.SUCCEEDED, Job.kind == "train")
        .order_by(Job.id.desc())
        .limit(REMEMBERED)
    )
    ended = [job for job in s.scalars(wanted) if job.record.get("device")]
    speeds, longest, shapes = _speeds(s, [job.id for job in ended]), _longest(s, ended), dict[str, Shapes]()
    found = []
    for job in ended:
        with suppress(StudioError):  # a base that is gone, or a plan of another version, tells nothing
            plan = Plan.from_json(job.plan)
            shapes.setdefault(plan.base_model, find(plan.base_model).shapes)
            of_base = shapes[plan.base_model]
            tokens = longest.get((job.dataset_id, plan.base_model), plan.max_length)
            device = str(job.record["device"])
            found.append(_Run(plan, of_base, device, job.gpus, tokens, job.peak_bytes, speeds.get(job.id)))
    return found


def _speeds(s: Session, jobs: Sequence[int]) -> dict[int, float]:
    """Tokens a second of each, over its whole curve."""
    mean = select(Metric.job_id, func.avg(Metric.value)).where(
        Metric.job_id.in_(jobs), Metric.name == "tokens_per_second"
    )
    return {job_id: speed for job_id, speed in s.execute(mean.group_by(Metric.job_id)) if speed}


def _longest(s: Session, jobs: Sequence[Job]) -> dict[tuple[int, str], int]:
    """Tokens of the longest row, by dataset and base, where they have been counted."""
    counted = select(Survey.dataset_id, Survey.kind, Survey.result).where(
        Survey.dataset_id.in_({job.dataset_id for job in jobs}),
        Survey.kind.startswith(surveys.LENGTHS),
        Survey.state == surveys.DONE,
    )
    return {
        (dataset, kind.removeprefix(surveys.LENGTHS)): int(result["longest"])
        for dataset, kind, result in s.execute(counted)
    }
