"""The workers: what each of them is, and what it does now."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from db import jobs as rows
from db.models import OWNER, Job, Status, Worker, now
from db.session import session

FORGOTTEN = timedelta(days=1)  # after which nobody asks any more where a worker is
STOPPED, GONE = "stopped", "gone"


@dataclass(frozen=True)
class Line:
    """A worker in a list; `state` is idle, busy, stopping, stopped, or gone when it has said nothing for too long."""

    name: str
    host: str
    device: str
    memory_bytes: int
    gpus: int
    version: str
    state: str
    job_id: int | None
    job: str | None
    started_at: datetime
    seen_at: datetime

    @property
    def alive(self) -> bool:
        return self.state not in (STOPPED, GONE)


@dataclass(frozen=True)
class Queue:
    """The jobs that are not done."""

    running: int
    ready: int  # for any worker that hears of them
    waiting: int  # for another job


def alive(s: Session) -> list[Worker]:
    """Those that have said something within the time of a lease, and have not said goodbye."""
    heard = select(Worker).where(Worker.seen_at > now() - rows.lease_time(), Worker.state != STOPPED)
    return list(s.scalars(heard.order_by(Worker.name)))


def listing() -> list[Line]:
    """Those that are there first, then those of the last day that are not."""
    recent = select(Worker, Job.name).join(Job, Job.id == Worker.job_id, isouter=True)
    recent = recent.where(Worker.seen_at > now() - FORGOTTEN).order_by(Worker.name)
    with session() as s:
        found = [_line(worker, job) for worker, job in s.execute(recent)]
    return sorted(found, key=lambda each: not each.alive)


def queue() -> Queue:
    earlier = aliased(Job)
    waits = select(func.count()).select_from(Job).join(earlier, earlier.id == Job.after_id)
    waits = waits.where(Job.owner_id == OWNER, Job.status == Status.QUEUED, earlier.status != Status.SUCCEEDED)
    count = select(func.count()).select_from(Job).where(Job.owner_id == OWNER)
    with session() as s:
        waiting = s.scalar(waits) or 0
        queued = s.scalar(count.where(Job.status == Status.QUEUED)) or 0
        running = s.scalar(count.where(Job.status == Status.RUNNING)) or 0
    return Queue(running, queued - waiting, waiting)


def warning() -> str:
    """What a person should know who queues a job now; nothing where a worker is there to take it."""
    with session() as s:
        if alive(s):
            return ""
    return "No worker is there now. The job waits until one is started."


def _line(worker: Worker, job: str | None) -> Line:
    heard = worker.seen_at > now() - rows.lease_time()
    there = heard and worker.state != STOPPED
    return Line(
        name=worker.name,
        host=worker.host,
        device=worker.device,
        memory_bytes=worker.memory_bytes,
        gpus=worker.gpus,
        version=worker.version,
        state=worker.state if heard or worker.state == STOPPED else GONE,
        job_id=worker.job_id if there else None,
        job=job if there else None,
        started_at=worker.started_at,
        seen_at=worker.seen_at,
    )
