"""A job's life: the moves it may make, who holds it, and what happens when its holder dies.

Every write of a worker is fenced by its lease, (owner, attempt): once the job has been given to
another, or has ended, the old holder can write nothing. The database arbitrates, in one statement each.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Update, and_, case, exists, false, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from db.models import Job, Metric, Status, now
from db.settings import settings

MOVES: dict[Status, set[Status]] = {
    Status.QUEUED: {Status.RUNNING, Status.CANCELLED},
    Status.RUNNING: {Status.QUEUED, Status.SUCCEEDED, Status.FAILED, Status.CANCELLED},
    Status.SUCCEEDED: set(),
    Status.FAILED: set(),
    Status.CANCELLED: set(),
}
ENDINGS = frozenset(status for status, targets in MOVES.items() if not targets)
FIRST_RING = timedelta(seconds=5)  # the page's own message has had this long to arrive
NEXT_RING = timedelta(seconds=30)
LOSSES = 3  # workers that may die with a job
# Why a job did not succeed, for those who decide by it; `error` is the sentence.
REASONS = ("error", "bad-input", "out-of-memory", "diverged", "lost", "waited")
STAGE_LENGTH = 80  # of its column
GAVE_UP = (
    f"The worker stopped {LOSSES} times in the middle of this job without saying why, most often for want of "
    "memory. Look at the end of its log, try a smaller batch or a shorter cut-off, and start it again."
)
WAITED = "Job {}, which this one waited for, did not succeed. Start that one again, then this one."
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


@dataclass(frozen=True)
class Wishes:
    """What the person wants of a running job."""

    cancel: bool  # stop and leave nothing
    stop: bool  # train no further, but keep the adapter and measure it


def lease_time() -> timedelta:
    return timedelta(seconds=settings().lease_seconds)


def submit(s: Session, job: Job) -> int:
    """Queue a job and return its id; commit before ringing for it."""
    s.add(job)
    s.flush()
    return job.id


def claim(s: Session, job_id: int, owner: str) -> Lease | None:
    """Take a queued job; of any number of rivals one gets it."""
    return _take(s, owner, Job.id == job_id)


def holding(s: Session, owner: str) -> Lease | None:
    """What a holder of one job at a time holds; one whose answer to a claim was lost may not know."""
    held = select(Job.id, Job.attempt).where(Job.lease_owner == owner, Job.status == Status.RUNNING)
    found = s.execute(held).first()
    return None if found is None else Lease(found[0], owner, found[1])


def claim_next(s: Session, owner: str, gpus: int = 1, kinds: Collection[str] | None = None) -> Lease | None:
    """Take the job that comes first of those that are ready: the highest priority, then the oldest.

    A bell says only that there is work: whoever hears it takes what matters most.
    """
    fits = [Job.gpus <= gpus, *([Job.kind.in_(kinds)] if kinds is not None else [])]
    first = select(Job.id).where(*_ready(), *fits).order_by(Job.priority.desc(), Job.id).limit(1)
    return _take(s, owner, Job.id == first.with_for_update(skip_locked=True).scalar_subquery())


def _take(s: Session, owner: str, which: ColumnElement[bool]) -> Lease | None:
    taken = (
        update(Job)
        .where(which, *_ready())
        .values(
            status=Status.RUNNING,
            lease_owner=owner,
            lease_until=now() + lease_time(),
            attempt=Job.attempt + 1,
            started_at=func.coalesce(Job.started_at, now()),
        )
    )
    found = s.execute(taken.returning(Job.id, Job.attempt)).first()
    return None if found is None else Lease(found[0], owner, found[1])


def _ready() -> tuple[ColumnElement[bool], ...]:
    """Queued, wanted, and waiting for nothing that has not succeeded."""
    earlier = aliased(Job)
    succeeded = exists().where(earlier.id == Job.after_id, earlier.status == Status.SUCCEEDED)
    return (Job.status == Status.QUEUED, Job.cancel_requested.is_(False), or_(Job.after_id.is_(None), succeeded))


def renew(s: Session, lease: Lease) -> bool:
    """Keep a running job for another while; False when it is no longer the caller's."""
    return s.scalar(_held(lease).values(lease_until=now() + lease_time()).returning(Job.id)) is not None


def hold(s: Session, lease: Lease, **values: Any) -> Job:
    """The caller's own running job, changed by `values`, and locked to the end of the transaction."""
    changed = _held(lease).values(**(values or {"attempt": lease.attempt})).returning(Job)
    job = s.scalar(changed, execution_options={"populate_existing": True})
    if job is None:
        raise LeaseLost(f"Job {lease.job_id} is no longer held by {lease.owner} in attempt {lease.attempt}.")
    return job


def move(s: Session, lease: Lease, to: Status, error: str | None = None, reason: str | None = None) -> None:
    """Move a leased job along, or raise; of two rivals only one gets through. `reason` is one of REASONS."""
    origins = [status for status, targets in MOVES.items() if to in targets]
    changes = {"error": error, "reason": reason, **_arrival(to, now())}
    statement = _mine(lease).where(Job.status.in_(origins)).values(changes)
    if s.scalar(statement.returning(Job.id)) is None:
        raise IllegalMove(f"Job {lease.job_id} cannot become {to}: it has ended, or another worker holds it.")


def release(s: Session, lease: Lease) -> None:
    """Give a job back to the queue, to go on from its last checkpoint."""
    move(s, lease, Status.QUEUED)


def wishes(s: Session, lease: Lease) -> Wishes:
    """What the person wants of this running job by now."""
    wanted = select(Job.cancel_requested, Job.stop_requested).where(*_fence(lease), Job.status == Status.RUNNING)
    found = s.execute(wanted).first()
    if found is None:
        raise LeaseLost(f"Job {lease.job_id} is no longer held by {lease.owner} in attempt {lease.attempt}.")
    return Wishes(*found)


def request_stop(s: Session, job_id: int) -> bool:
    """Ask a running job to train no further but to keep what it has; False when it does not run."""
    asked = update(Job).where(Job.id == job_id, Job.status == Status.RUNNING).values(stop_requested=True)
    return s.scalar(asked.returning(Job.id)) is not None


def dependents(s: Session, job_id: int) -> list[int]:
    """The jobs that waited for this one and may go now."""
    return list(s.scalars(select(Job.id).where(Job.after_id == job_id, *_ready()).order_by(Job.id)))


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


def record(s: Session, lease: Lease, facts: Mapping[str, Any]) -> None:
    """Add to what is known of the machine and the code that a job runs on."""
    job = hold(s, lease)
    job.record = {**job.record, **facts}


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


def leases(s: Session) -> dict[Lease, datetime | None]:
    """Who holds which running job, and until when: unchanged for a while, the holder is dead."""
    held = select(Job.id, Job.lease_owner, Job.attempt, Job.lease_until).where(Job.status == Status.RUNNING)
    return {Lease(job_id, owner or "", attempt): until for job_id, owner, attempt, until in s.execute(held)}


def sweep(s: Session, at: datetime, dead: Collection[Lease] = ()) -> list[int]:
    """Put right what dead holders and lost messages left behind; the ids of the jobs to ring for, first one first."""
    lost = or_(false(), *(and_(*_fence(lease), Job.status == Status.RUNNING) for lease in dead))
    unwanted = and_(Job.cancel_requested, or_(Job.status == Status.QUEUED, lost))
    s.execute(update(Job).where(unwanted).values(_arrival(Status.CANCELLED, at)))
    gone = {"error": GAVE_UP, "reason": "lost", "losses": Job.losses + 1, **_arrival(Status.FAILED, at)}
    s.execute(update(Job).where(lost, Job.losses + 1 >= LOSSES).values(gone))
    s.execute(update(Job).where(lost).values(losses=Job.losses + 1, **_arrival(Status.QUEUED, at)))
    _end_what_waits_in_vain(s, at)
    unheard = or_(
        and_(Job.sent_at.is_(None), or_(Job.created_at < at - FIRST_RING, Job.created_at > at)),
        Job.sent_at < at - NEXT_RING,
        Job.sent_at > at,  # a clock was put back
    )
    due = update(Job).where(unheard, *_ready()).values(sent_at=at)
    rung = {job_id: -priority for job_id, priority in s.execute(due.returning(Job.id, Job.priority))}
    return sorted(rung, key=lambda job_id: (rung[job_id], job_id))


def _end_what_waits_in_vain(s: Session, at: datetime) -> None:
    """A job whose predecessor failed or was cancelled; and then the job that waits for that one."""
    earlier = aliased(Job)
    in_vain = select(Job.id, Job.after_id).join(earlier, earlier.id == Job.after_id)
    in_vain = in_vain.where(Job.status == Status.QUEUED, earlier.status.in_((Status.FAILED, Status.CANCELLED)))
    while found := s.execute(in_vain).all():
        for job_id, after_id in found:
            ended = {"error": WAITED.format(after_id), "reason": "waited", **_arrival(Status.CANCELLED, at)}
            s.execute(update(Job).where(Job.id == job_id, Job.status == Status.QUEUED).values(ended))


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
