"""The Celery task. A message is a doorbell with a job's id; what happens to the job is settled in SQL."""

import os
import socket
import uuid
from itertools import count
from typing import Any

import structlog
from celery.signals import worker_init, worker_shutdown, worker_shutting_down
from sqlalchemy.orm import Session

from db import jobs, workers
from db.jobs import IllegalMove, Lease, LeaseLost
from db.models import Status
from db.outage import DatabaseAway, patiently
from db.queue import enqueue, queue
from db.settings import settings
from worker import registry, work
from worker.endings import Cancelled, Released, explain, reason_of
from worker.spare import spare
from worker.steps import STEPS
from worker.supervise import stopping, supervise
from worker.work import Assignment

log = structlog.get_logger()
# Who holds the leases of this process; a restarted worker is someone else, even under the same process id.
ME = f"{socket.gethostname()[:30]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"

row = registry.Registry(ME)


@worker_init.connect  # type: ignore[untyped-decorator]
def begin(**_: Any) -> None:
    """Before the broker is found: a worker that waits for one is seen to wait."""
    row.start()
    if settings().spare:
        spare.keep()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def stop(**_: Any) -> None:
    """SIGTERM: give the running job back now instead of waiting hours for it."""
    stopping.set()
    row.show(workers.STOPPING)


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def end(**_: Any) -> None:
    spare.end()
    row.end()


@queue.task(name="run_job")  # type: ignore[untyped-decorator]
def run_job(job_id: int) -> None:
    """Work off what is ready: one bell may stand for many that were lost, and says not which job comes first."""
    log.info("bell", job_id=job_id)
    try:
        while (assignment := take()) and run(assignment):
            pass
    except DatabaseAway as error:
        leave(error)
    finally:
        row.show(workers.STOPPING if stopping.is_set() else workers.IDLE)


def take() -> Assignment | None:
    """The job that comes first; none after a redelivered bell, or when somebody else was faster."""
    tries = count()

    def claim(s: Session) -> Assignment | None:
        # Where the first try's answer was lost, it may have taken a job all the same.
        mine = jobs.holding(s, ME) if next(tries) else None
        lease = mine or jobs.claim_next(s, ME, registry.gpus(), STEPS)
        return work.assigned(s, lease) if lease else None

    return None if stopping.is_set() else patiently(claim)


def run(assignment: Assignment) -> bool:
    """Run one job and record how it ended; False when this worker should wait for the next bell."""
    lease = assignment.lease
    row.show(workers.BUSY, lease.job_id)
    try:
        supervise(assignment)
    except Cancelled:
        finish(lease, Status.CANCELLED)
    except (Released, DatabaseAway):
        release(lease)
        return False
    except LeaseLost as error:
        log.warning("lease lost", job_id=lease.job_id, reason=str(error))
        return False
    except Exception as error:
        finish(lease, Status.FAILED, explain(error), reason_of(error))
        raise
    else:
        finish(lease, Status.SUCCEEDED)
    return True


def finish(lease: Lease, status: Status, error: str | None = None, reason: str | None = None) -> None:
    """Write the ending, and ring for the jobs that waited for it."""

    def end(s: Session) -> list[int]:
        jobs.move(s, lease, status, error, reason)
        return jobs.dependents(s, lease.job_id)

    try:
        waiting = patiently(end)
    except IllegalMove as refused:
        log.warning("ending not written", job_id=lease.job_id, status=status, why=str(refused))
        return
    log.info("job ended", job_id=lease.job_id, status=status, error=error, reason=reason)
    for job_id in waiting:
        enqueue(job_id)


def release(lease: Lease) -> None:
    try:
        patiently(lambda s: jobs.release(s, lease))
    except IllegalMove as refused:
        log.warning("not released", job_id=lease.job_id, why=str(refused))
        return
    log.info("job released", job_id=lease.job_id)


def leave(error: DatabaseAway) -> None:
    """A worker that cannot write goes, so that whoever watches it starts another; its lease runs out by itself."""
    log.error("the database has been away for too long; this worker ends", error=str(error))
    os._exit(os.EX_UNAVAILABLE)
