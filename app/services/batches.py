"""Batches: a grid of settings as one thing to start, to watch and to compare."""

import itertools
import re
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.jobs.choice import Choice
from app.services.jobs.lines import JobError, Line, line, lines
from app.services.jobs.starting import repetition, ring, start_all
from db import jobs as rows
from db.models import OWNER, Batch, Job, Score, Status
from db.session import session
from prolora.errors import PlanError

MOST_JOBS = 200
BENCHMARK = "held-out"
BETWEEN = re.compile(r"[;\n]|,(?![0-9]{3}(?![0-9]))")  # but not between the thousands of 5,000,000


@dataclass(frozen=True)
class Grid:
    """What is varied; each combination is trained by every method."""

    methods: tuple[str, ...]
    budgets: tuple[str, ...]
    rates: tuple[float, ...]
    seeds: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.methods) * len(self.budgets) * len(self.rates) * len(self.seeds)


@dataclass(frozen=True)
class Summary:
    """A batch in a list."""

    id: int
    name: str
    created_at: datetime
    states: dict[str, int]  # jobs by state


@dataclass(frozen=True)
class Overview:
    """A batch whole: its jobs, each in its newest repetition, and what they scored."""

    id: int
    name: str
    created_at: datetime
    lines: tuple[Line, ...]
    scores: dict[int, dict[str, float]]  # of a job, by metric

    @property
    def finished(self) -> bool:
        return all(each.finished for each in self.lines)


def grid_of(choice: Choice) -> Grid:
    """What the form asks for; where a sweep names nothing, the field of the single run counts."""
    budgets = tuple(dict.fromkeys(_parts(choice.budgets))) or (choice.budget,)
    rates = tuple(dict.fromkeys(map(_rate, _parts(choice.rates)))) or (choice.learning_rate,)
    seeds = tuple(dict.fromkeys(seed for part in _parts(choice.seeds) for seed in _seeds(part))) or (choice.seed,)
    return Grid(choice.methods, budgets, rates, seeds)


def is_sweep(choice: Choice) -> bool:
    return bool(_parts(choice.rates) or _parts(choice.budgets) or _parts(choice.seeds))


def start(choice: Choice) -> tuple[int, list[int]]:
    """Queue every combination, or nothing; the batch's number and those of its jobs."""
    grid = grid_of(choice)
    if grid.size > MOST_JOBS:
        raise PlanError(f"The sweep has {grid.size} jobs; a batch holds at most {MOST_JOBS}. Leave some out.")
    varied = {"methods": grid.methods, "budgets": grid.budgets, "learning_rates": grid.rates, "seeds": grid.seeds}
    name = choice.name.strip()[:120] or "Sweep"
    batch = Batch(owner_id=OWNER, name=name, grid={key: list(values) for key, values in varied.items()})
    ids = start_all(list(_each(choice, grid)), batch)
    return batch.id, ids


def listing(limit: int = 100) -> list[Summary]:
    """Newest first."""
    mine = select(Batch).where(Batch.owner_id == OWNER).order_by(Batch.id.desc()).limit(limit)
    with session() as s:
        found = s.scalars(mine).all()
        counted = select(Job.batch_id, Job.status, func.count()).where(Job.batch_id.in_([each.id for each in found]))
        states: dict[int | None, dict[str, int]] = {}
        for batch_id, status, number in s.execute(counted.group_by(Job.batch_id, Job.status)):
            states.setdefault(batch_id, {})[status.value] = number
        return [Summary(each.id, each.name, each.created_at, states.get(each.id, {})) for each in found]


def overview(batch_id: int) -> Overview:
    with session() as s:
        batch = _mine(s, batch_id)
        found = _newest(s, batch_id)
        measured = select(Score).where(
            Score.job_id.in_([each.id for each in found]), Score.subject == "adapter", Score.benchmark == BENCHMARK
        )
        scored: dict[int, dict[str, float]] = {}
        for score in s.scalars(measured):
            scored.setdefault(score.job_id, {})[score.metric] = score.value
        return Overview(batch.id, batch.name, batch.created_at, tuple(found), scored)


def cancel_all(batch_id: int) -> int:
    """Ask every job that has not ended to stop; how many that were."""
    with session() as s:
        _mine(s, batch_id)
        open_jobs = select(Job.id).where(Job.batch_id == batch_id, Job.status.not_in(rows.ENDINGS))
        return sum(rows.request_cancel(s, job_id) for job_id in s.scalars(open_jobs).all())


def retry_failed(batch_id: int) -> list[int]:
    """Queue again what failed or was cancelled; the new jobs' numbers."""
    with session() as s:
        _mine(s, batch_id)
        lost = [each.id for each in _newest(s, batch_id) if each.status in (Status.FAILED, Status.CANCELLED)]
        ids = [rows.submit(s, repetition(s, s.get_one(Job, job_id))) for job_id in lost]
    ring(ids)
    return ids


def _newest(s: Session, batch_id: int) -> list[Line]:
    found = s.execute(lines().where(Job.batch_id == batch_id).order_by(Job.id)).all()
    repeated = {job.origin_id for job, _ in found}
    return [line(job, dataset) for job, dataset in found if job.id not in repeated]


def _mine(s: Session, batch_id: int) -> Batch:
    batch = s.get(Batch, batch_id)
    if batch is None or batch.owner_id != OWNER:
        raise JobError(f"There is no batch number {batch_id}. It may be in another data folder.")
    return batch


def _each(choice: Choice, grid: Grid) -> "itertools.starmap[Choice]":
    """One choice for each combination; its jobs are named by what is varied."""

    def cell(budget: str, rate: float, seed: int) -> Choice:
        told = [f"{rate:g}"] * (len(grid.rates) > 1) + [f"seed {seed}"] * (len(grid.seeds) > 1)
        name = ", ".join([choice.name.strip() or "Sweep", *told])
        return replace(choice, budget=budget, learning_rate=rate, seed=seed, name=name)

    return itertools.starmap(cell, itertools.product(grid.budgets, grid.rates, grid.seeds))


def _parts(typed: str | None) -> list[str]:
    return [part.strip() for part in BETWEEN.split(typed or "") if part.strip()]


def _rate(part: str) -> float:
    try:
        return float(part)
    except ValueError as error:
        raise PlanError(
            f"“{part[:40]}” is not a learning rate. Write numbers with commas, as in 1e-4, 3e-4."
        ) from error


def _seeds(part: str) -> range:
    """A seed, or several as 1-5."""
    ends = re.fullmatch(r"([0-9]{1,10})(?:\s*[-–]\s*([0-9]{1,10}))?", part)
    if not ends or int(ends[2] or ends[1]) < int(ends[1]):
        raise PlanError(f"“{part[:40]}” is no seed. Write whole numbers with commas, as in 1, 2, 3, or 1-5.")
    seeds = range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    if len(seeds) > MOST_JOBS:
        raise PlanError(f"{part[:40]} are {len(seeds)} seeds; a batch holds at most {MOST_JOBS} jobs.")
    return seeds
