"""One job whole: how it stands, what it trains, its scores, its curves and its log."""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from app.services.jobs.lines import Line, job_of_mine, line, lines
from db import files, scores
from db.jobs import ENDINGS
from db.models import Adapter, Dataset, Job, Score, Status
from db.session import session
from prolora.plan import Plan

GAUGES = ("loss", "validation_loss", "learning_rate", "tokens_per_second", "memory")
LOG_LINES, LOG_BYTES = 200, 64_000
COLOUR_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Measure:
    subject: str  # adapter or base
    metric: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Curve:
    job_id: int
    method: str
    points: tuple[tuple[int, float], ...]
    metric: str = "loss"


@dataclass(frozen=True)
class Detail:
    line: Line
    peers: tuple[Line, ...]  # runs of other methods that were started with it
    plan: Plan
    adapter_id: int | None
    adapter: str | None
    scores: tuple[Measure, ...]
    record: dict[str, Any]  # what it ran on
    dataset_hash: str
    peak_bytes: int | None
    attempt: int
    ahead: int  # queued jobs that go before it
    latest: dict[int, dict[str, tuple[int, float]]]  # of it and its peers, the last step and value of each gauge
    successor: int | None  # the newest job that repeats it, or is a changed copy of it


def detail(job_id: int) -> Detail:
    with session() as s:
        job = job_of_mine(s, job_id)
        pair = _pair(s, job)
        adapter = s.execute(select(Adapter.id, Adapter.name).where(Adapter.job_id == job_id)).first()
        measured = s.scalars(select(Score).where(Score.job_id == job_id).order_by(Score.id)).all()
        return Detail(
            line=next(each for each in pair if each.id == job_id),
            peers=tuple(each for each in pair if each.id != job_id),
            plan=Plan.from_json(job.plan),
            adapter_id=adapter[0] if adapter else None,
            adapter=adapter[1] if adapter else None,
            scores=tuple(Measure(m.subject, m.metric, m.value, m.low, m.high, m.n) for m in measured),
            record=job.record,
            dataset_hash=s.scalar(select(Dataset.content_hash).where(Dataset.id == job.dataset_id)) or "",
            peak_bytes=job.peak_bytes,
            attempt=job.attempt,
            ahead=_ahead(s, job) if job.status == Status.QUEUED else 0,
            latest={each.id: scores.latest(s, each.id, GAUGES) for each in pair},
            successor=_successor(s, job),
        )


def curves(wanted: Sequence[Line], metrics: Sequence[str] = ("loss",), points: int = 500) -> list[Curve]:
    """Some metrics of several jobs, thinned in SQL; those that were never written are left out but for the loss."""
    found = []
    with session() as s:
        for each in wanted:
            for metric in metrics:
                curve = scores.curve(s, each.id, metric, points)
                if curve or metric == "loss":
                    found.append(Curve(each.id, each.method, tuple(curve), metric))
    return found


def log_tail(job_id: int) -> str:
    """The last lines of the job's log, without terminal colours and overwritten progress bars."""
    path = files.job_log(job_id)
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - LOG_BYTES, 0))
        text = file.read().decode(errors="replace")
    ends = (each.rsplit("\r", 1)[-1] for each in COLOUR_CODES.sub("", text).split("\n"))
    return "\n".join(deque(ends, LOG_LINES)).strip()


def _pair(s: Session, job: Job) -> list[Line]:
    """It and what was started with it, each in its newest repetition."""
    same_pair = Job.pair == job.pair if job.pair else Job.id == job.id
    found = [line(each, name) for each, name in s.execute(lines().where(same_pair).order_by(Job.id))]
    repeated = {each.origin_id for each in found}
    return [each for each in found if each.id == job.id or (each.id not in repeated and each.id != job.origin_id)]


def _successor(s: Session, job: Job) -> int | None:
    """Asked only of what has ended: no page looks at those every other second."""
    if job.status not in ENDINGS:
        return None
    return s.scalar(select(func.max(Job.id)).where(Job.origin_id == job.id))


def _ahead(s: Session, job: Job) -> int:
    before = or_(Job.priority > job.priority, and_(Job.priority == job.priority, Job.id < job.id))
    return s.scalar(select(func.count()).where(Job.status == Status.QUEUED, before)) or 0
