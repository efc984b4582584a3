"""What a person can do with a job that is queued or runs."""

from sqlalchemy import update

from app.services.jobs.lines import JobError, job_of_mine
from db import jobs as rows
from db.models import Job, Status
from db.session import session

MOST_PRIORITY = 100


def cancel(job_id: int) -> bool:
    """Ask a job to stop; False when it has ended already."""
    with session() as s:
        job_of_mine(s, job_id)
        return rows.request_cancel(s, job_id)


def stop_and_keep(job_id: int) -> None:
    """Ask a running job to train no further, but to keep its adapter and to measure it."""
    with session() as s:
        job_of_mine(s, job_id)
        if not rows.request_stop(s, job_id):
            raise JobError(f"Job {job_id} does not run, so there is nothing to keep. Cancel it instead.")


def sooner(job_id: int) -> int:
    """Before those that are as urgent now; the new priority."""
    return _prioritize(job_id, 1)


def later(job_id: int) -> int:
    """Behind those that are as urgent now; the new priority."""
    return _prioritize(job_id, -1)


def _prioritize(job_id: int, by: int) -> int:
    with session() as s:
        job = job_of_mine(s, job_id)
        priority = min(max(job.priority + by, -MOST_PRIORITY), MOST_PRIORITY)
        changed = update(Job).where(Job.id == job_id, Job.status == Status.QUEUED).values(priority=priority)
        if s.scalar(changed.returning(Job.id)) is None:
            raise JobError(f"Job {job_id} waits no longer, so its place in the queue cannot be changed.")
        return priority
