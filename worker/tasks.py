"""The Celery task. A message is a doorbell with a job's id; what happens to the job is settled in SQL."""

import os
import socket
import uuid
from typing import Any

import structlog
from celery.signals import worker_shutting_down

from db import jobs
from db.jobs import Lease, LeaseLost
from db.models import Status
from db.queue import queue
from db.session import session
from worker.endings import Cancelled, Released, explain
from worker.supervise import stopping, supervise

log = structlog.get_logger()
# Who holds the leases of this process; a restarted worker is someone else, even under the same process id.
ME = f"{socket.gethostname()[:30]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def stop(**_: Any) -> None:
    """SIGTERM: give the running job back now instead of waiting hours for it."""
    stopping.set()


@queue.task(name="run_job")  # type: ignore[untyped-decorator]
def run_job(job_id: int) -> None:
    """Run the job that comes first, which need not be the one that was rung for, and record how it ended."""
    with session() as s:
        lease = None if stopping.is_set() else jobs.claim_next(s, ME)
    if lease is None:
        return  # a redelivered doorbell, or somebody else was faster
    try:
        supervise(lease)
    except Cancelled:
        finish(lease, Status.CANCELLED)
    except Released:
        release(lease)
    except LeaseLost as error:
        log.warning("lease lost", job_id=job_id, reason=str(error))
    except Exception as error:
        finish(lease, Status.FAILED, explain(error))
        raise
    else:
        finish(lease, Status.SUCCEEDED)


def finish(lease: Lease, status: Status, error: str | None = None) -> None:
    with session() as s:
        jobs.move(s, lease, status, error)
    log.info("job ended", job_id=lease.job_id, status=status, error=error)


def release(lease: Lease) -> None:
    with session() as s:
        jobs.release(s, lease)
    log.info("job released", job_id=lease.job_id)
