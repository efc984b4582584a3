"""A job's life: the moves it may make, who holds it, and what happens when its holder dies.

Every write of a worker is fenced by its lease, (owner, attempt): once the job has been given to
another, or has ended, the old holder can write nothing. The database arbitrates, in one statement each.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Update, and_, case, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.models import Job, Metric, Status, now

MOVES: dict[Status, set[Status]] = {
    Status.QUEUED: {Status.RUNNING, Status.CANCELLED},
    Status.RUNNING: {Status.QUEUED, Status.SUCCEEDED, Status.FAILED, Status.CANCELLED},
    Status.SUCCEEDED: set(),
    Status.FAILED: set(),
    Status.CANCELLED: set(),
}
ENDINGS = frozenset(status for status, targets in MOVES.items() if not targets)
LEASE = timedelta(seconds=60)  # renewed every ten by the supervisor
FIRST_RING = timedelta(seconds=5)  # the page's own message has had this long to arrive
NEXT_RING = timedelta(seconds=30)
ATTEMPTS = 3
STAGE_LENGTH = 80  # of its column
GAVE_UP = (
    f"The worker stopped {ATTEMPTS} times in the middle of this job without saying why, most often for want of "
    "memory. Look at the end of its log, try a smaller batch or a shorter cut-off, and start it again."
)
INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class IllegalMove(Exception):  # noqa: N818
    """The job may not move there, or is not the caller's to move."""


class LeaseLost(Exception):  # noqa: N818
    """The job has ended or is another's: stop, and write nothing more."""


@dataclass(frozen=True)
class Lease:
    job_id: int
    owner: str
    attempt: int


def submit(s: Session, job: Job) -> int:
    """Queue a job and return its id; commit before ringing for it."""
    s.add(job)
    s.flush()
    return job.id


def claim(s: Session, job_id: int, owner: str) -> Lease | None:
    """Take a queued job; of any number of rivals one gets it."""
    taken = (
        update(Job)
        .where(Job.id == job_id, Job.status == Status.QUEUED, Job.cancel_requested.is_(False))
        .values(
            status=Status.RUNNING,
            lease_owner=owner,
            lease_until=now() + LEASE,
            attempt=Job.attempt + 1,
            started_at=func.coalesce(Job.started_at, now()),
        )
    )
    attempt = s.scalar(taken.returning(Job.attempt))
    return None if attempt is None else Lease(job_id, owner, attempt)


def renew(s: Session, lease: Lease) -> bool:
    """Keep a running job for another minute; False when it is no longer the caller's."""
    return s.scalar(_held(lease).values(lease_until=now() + LEASE).returning(Job.id)) is not None


def hold(s: Session, lease: Lease, **values: Any) -> Job:
    """The caller's own running job, changed by `values`, and locked to the end of the transaction."""
    changed = _held(lease).values(**(values or {"attempt": lease.attempt})).returning(Job)
    job = s.scalar(changed, execution_options={"populate_existing": True})
    if job is None:
        raise LeaseLost(f"Job {lease.job_id} is no longer held by {lease.owner} in attempt {lease.attempt}.")
    return job


def move(s: Session, lease: Lease, to: Status, error: str | None = None) -> None:
    """Move a leased job along, or raise; of two rivals only one gets through."""
    origins = [status for status, targets in MOVES.items() if to in targets]
    statement = _mine(lease).where(Job.status.in_(origins)).values(error=error, **_arrival(to, now()))
    if s.scalar(statement.returning(Job.id)) is None:
        raise IllegalMove(f"Job {lease.job_id} cannot become {to}: it has ended, or another worker holds it.")


def release(s: Session, lease: Lease) -> None:
    """Give a job back to the queue, to go on from its last checkpoint."""
    move(s, lease, Status.QUEUED)


def cancel_requested(s: Session, lease: Lease) -> bool:
    """Whether the person wants this running job to stop."""
    wanted = s.scalar(select(Job.cancel_requested).where(*_fence(lease), Job.status == Status.RUNNING))
    if wanted is None:
        raise LeaseLost(f"Job {lease.job_id} is no longer held by {lease.owner} in attempt {lease.attempt}.")
    return wanted


def request_cancel(s: Session, job_id: int) -> bool:
    """End a queued job at once, or ask a running one to stop; False when there is nothing left to cancel."""
    queued = Job.status == Status.QUEUED
    asked = (
        update(Job)
        .where(Job.id == job_id, Job.status.not_in(ENDINGS))
        .values(
            cancel_requested=True,
            status=case((queued, literal(Status.CANCELLED, Job.status.type)), else_=Job.status),
            finished_at=case((queued, literal(now(), Job.finished_at.type)), else_=Job.finished_at),
        )
    )
    return s.scalar(asked.returning(Job.id)) is not None


def progress(
    s: Session,
    lease: Lease,
    *,
    step: int | None = None,
    total_steps: int | None = None,
    stage: str | None = None,
    note: str | None = None,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Say how far a job is. Metrics belong to `step`, or else to the last step told; a repeated step replaces."""
    told = {
        "step": step,
        "total_steps": total_steps,
        "stage": stage[:STAGE_LENGTH] if stage is not None else None,
        "note": note,
    }
    job = hold(s, lease, **{name: value for name, value in told.items() if value is not None})
    _write_metrics(s, job.id, job.step, metrics or {})


def _write_metrics(s: Session, job_id: int, step: int, metrics: Mapping[str, float]) -> None:
    """A loss that is not a number leaves a gap in its curve; SQLite has no way to write one."""
    rows = [
        {"job_id": job_id, "name": name, "step": step, "value": float(value)}
        for name, value in metrics.items()
        if math.isfinite(value)
    ]
    if not rows:
        return
    insert = INSERT[s.get_bind().dialect.name](Metric).values(rows)
    s.execute(
        insert.on_conflict_do_update(
            index_elements=[Metric.job_id, Metric.name, Metric.step], set_={"value": insert.excluded.value}
        )
    )


def sweep(s: Session, at: datetime) -> list[int]:
    """Put right what dead workers and lost messages left behind; the ids of the jobs to ring for, oldest first."""
    expired = and_(Job.status == Status.RUNNING, Job.lease_until < at)
    unwanted = and_(Job.cancel_requested, or_(Job.status == Status.QUEUED, expired))
    s.execute(update(Job).where(unwanted).values(_arrival(Status.CANCELLED, at)))
    s.execute(update(Job).where(expired, Job.attempt >= ATTEMPTS).values(error=GAVE_UP, **_arrival(Status.FAILED, at)))
    s.execute(update(Job).where(expired).values(_arrival(Status.QUEUED, at)))
    unheard = or_(
        and_(Job.sent_at.is_(None), Job.created_at < at - FIRST_RING),
        Job.sent_at < at - NEXT_RING,
    )
    due = update(Job).where(Job.status == Status.QUEUED, unheard).values(sent_at=at)
    return sorted(s.scalars(due.returning(Job.id)))


def _arrival(to: Status, at: datetime) -> dict[str, Any]:
    """What a job looks like that has just been given up by its holder: nobody's, and ended or unheard."""
    free = {"status": to, "lease_owner": None, "lease_until": None}
    return {**free, "sent_at": None} if to == Status.QUEUED else {**free, "finished_at": at}


def _fence(lease: Lease) -> tuple[Any, ...]:
    return (Job.id == lease.job_id, Job.lease_owner == lease.owner, Job.attempt == lease.attempt)


def _mine(lease: Lease) -> Update:
    return update(Job).where(*_fence(lease))


def _held(lease: Lease) -> Update:
    return _mine(lease).where(Job.status == Status.RUNNING)
