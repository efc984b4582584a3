"""One child process per job: fresh memory and CUDA context, and a crash takes nothing else along."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from sqlalchemy.orm import Session

from db import jobs
from db.jobs import Lease, LeaseLost, Wishes
from db.outage import DatabaseAway, once
from db.settings import settings
from worker import endings, launch
from worker.endings import Cancelled, Released
from worker.spare import spare
from worker.steps import STEPS
from worker.work import Assignment

LOOK_EVERY = 0.5
GRACE = 5.0  # what a child gets to stop by itself after a cancel

stopping = threading.Event()  # set when this worker is told to go


def supervise(assignment: Assignment) -> None:
    """Run the job in a child; return when it has succeeded, raise whatever else became of it."""
    with child(assignment) as process:
        watch(process, assignment.lease)
        words = process.stdout.read() if process.stdout else b""
    if process.returncode != 0:
        raise endings.raised(process.returncode, words)


@contextmanager
def child(assignment: Assignment) -> Iterator[subprocess.Popen[bytes]]:
    """The child with its standard input held open: it dies of the end of that pipe, so it cannot outlive us."""
    alone = assignment.gpus == 1 and STEPS[assignment.kind].heavy
    process = (spare.take(assignment.lease) if alone else None) or launch.start(assignment)
    try:
        yield process
    finally:
        launch.kill(process)


def watch(process: subprocess.Popen[bytes], lease: Lease) -> None:
    """Wait for the child's end, renewing the lease; raise when somebody wants it to end earlier.

    A database that is away ends nothing: the child goes on, and the first answer tells whose the job is by then.
    """
    due = time.monotonic() + settings().renew_seconds
    while not ended(process, LOOK_EVERY):
        if stopping.is_set():
            raise Released
        late = time.monotonic() >= due
        with suppress(DatabaseAway):
            wishes = once(partial(renewed if late else jobs.wishes, lease=lease))
            if late:
                due = time.monotonic() + settings().renew_seconds
            if wishes.cancel:
                ended(process, GRACE)
                raise Cancelled


def renewed(s: Session, lease: Lease) -> Wishes:
    if not jobs.renew(s, lease):
        raise LeaseLost(f"Job {lease.job_id} now belongs to another worker.")
    return jobs.wishes(s, lease)


def ended(process: subprocess.Popen[bytes], patience: float) -> bool:
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        return False
    return True
