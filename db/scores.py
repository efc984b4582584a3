"""What was measured: scores in, the leaderboard and curves out. Each is one or two queries, however many rows."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, literal, select, tuple_
from sqlalchemy.orm import Session

from db import jobs
from db.models import Adapter, Dataset, Job, Metric, Score, Status


@dataclass(frozen=True)
class Entry:
    """One run on the leaderboard."""

    job_id: int
    name: str
    method: str
    setting: str  # (r, u, m, n), or the rank alone
    parameters: int
    size_bytes: int
    adapter_name: str
    base_model: str
    dataset: str
    scores: dict[str, float]  # by metric
    base_scores: dict[str, float]  # of the base model alone, on the same rows
    intervals: dict[str, tuple[float, float]]  # 95 %, of `scores`
    n: int  # held-out rows
    minutes: float
    created_at: datetime
    pair: str | None  # shared with its twin


@dataclass
class _Measured:
    """The scores of one job, while they are read."""

    adapter: dict[str, float] = field(default_factory=dict)
    base: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    n: int = 0


def record(s: Session, lease: jobs.Lease, rows: Iterable[Score]) -> None:
    """Keep the scores of the caller's own job; one measured again, after a crash, replaces the first."""
    job, fresh = jobs.hold(s, lease), list(rows)
    keys = [(row.subject, row.benchmark, row.metric) for row in fresh]
    stale = tuple_(Score.subject, Score.benchmark, Score.metric).in_(keys)
    s.execute(delete(Score).where(Score.job_id == job.id, stale))
    for row in fresh:
        row.job_id, row.owner_id = job.id, job.owner_id
    s.add_all(fresh)
    s.flush()


def leaderboard(s: Session, owner_id: int) -> list[Entry]:
    """Every run that succeeded, newest first."""
    runs = (
        select(Job, Adapter, Dataset.name)
        .join(Adapter, Adapter.job_id == Job.id)
        .join(Dataset, Dataset.id == Job.dataset_id)
        .where(Job.owner_id == owner_id, Job.status == Status.SUCCEEDED)
        .order_by(Job.id.desc())
    )
    measured = _measured(s, owner_id)
    return [_entry(job, adapter, dataset, measured[job.id]) for job, adapter, dataset in s.execute(runs)]


def curve(s: Session, job_id: int, name: str, points: int = 500) -> list[tuple[int, float]]:
    """A metric over the steps, thinned evenly by the database to at most `points` of two or more, the last one kept.

    The key is walked in strides, one look-up a point: a history of a million points costs no more than one of a
    thousand.
    """
    of_series = (Metric.job_id == job_id, Metric.name == name)
    # Two questions: SQLite answers one of both ends at once by reading all that lies between.
    ends = (select(end(Metric.step)).where(*of_series).scalar_subquery() for end in (func.min, func.max))
    first, last = s.execute(select(*ends)).one()
    if first is None:
        return []
    stride = max(-(-(last - first) // (points - 1)), 1)
    walk = select(literal(first).label("step")).cte("walk", recursive=True)
    further = select(func.min(Metric.step)).where(*of_series, Metric.step >= walk.c.step + stride).scalar_subquery()
    walk = walk.union_all(select(further).where(walk.c.step.is_not(None)))
    kept = select(walk.c.step).where(walk.c.step.is_not(None)).union(select(literal(last))).subquery()
    # A look-up for each, said so: of a join PostgreSQL may think that reading the whole series is as good.
    value = select(Metric.value).where(*of_series, Metric.step == kept.c.step).scalar_subquery()
    return sorted((step, number) for step, number in s.execute(select(kept.c.step, value)))


def latest(s: Session, job_id: int, names: Iterable[str]) -> dict[str, tuple[int, float]]:
    """The last step and value of each metric that has any, by one look-up each."""
    found = {}
    for name in names:
        of_series = select(Metric.step, Metric.value).where(Metric.job_id == job_id, Metric.name == name)
        if last := s.execute(of_series.order_by(Metric.step.desc()).limit(1)).first():
            found[name] = (last.step, last.value)
    return found


def _measured(s: Session, owner_id: int) -> defaultdict[int, _Measured]:
    found: defaultdict[int, _Measured] = defaultdict(_Measured)
    for score in s.scalars(select(Score).where(Score.owner_id == owner_id)):
        of_job = found[score.job_id]
        if score.subject == "base":
            of_job.base[score.metric] = score.value
            continue
        of_job.adapter[score.metric] = score.value
        of_job.intervals[score.metric] = (score.low, score.high)
        of_job.n = max(of_job.n, score.n)
    return found


def _entry(job: Job, adapter: Adapter, dataset: str, measured: _Measured) -> Entry:
    finished = job.finished_at or job.created_at
    return Entry(
        job_id=job.id,
        name=job.name,
        method=adapter.method,
        setting=_setting(job.plan["setting"]),
        parameters=adapter.parameters,
        size_bytes=adapter.size_bytes,
        adapter_name=adapter.name,
        base_model=adapter.base_model,
        dataset=dataset,
        scores=measured.adapter,
        base_scores=measured.base,
        intervals=measured.intervals,
        n=measured.n,
        minutes=(finished - (job.started_at or finished)).total_seconds() / 60,
        created_at=job.created_at,
        pair=job.pair,
    )


def _setting(plan: dict[str, Any]) -> str:
    """As prolora.Setting writes itself; rows and the method know nothing of each other."""
    r, u, m, n = (plan[letter] for letter in "rumn")
    return f"r={r}" if u == r else f"({r}, {u}, {m}, {n})"
