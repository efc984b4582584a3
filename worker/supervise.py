"""One child process per job: fresh memory and CUDA context, and a crash takes nothing else along."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from db import files, jobs
from db.jobs import Lease, LeaseLost
from db.session import session
from worker import endings
from worker.endings import Cancelled, ChildFailed, Released

RENEW_EVERY = 10.0  # seconds; the lease lasts sixty
LOOK_EVERY = 0.5
GRACE = 5.0  # what a child gets to stop by itself after a cancel

stopping = threading.Event()  # set when this worker is told to go


def supervise(lease: Lease) -> None:
    """Train in a child; return when it has succeeded, raise whatever else became of it."""
    with child(lease) as process:
        watch(process, lease)
        words = process.stdout.read().decode(errors="replace").strip() if process.stdout else ""
    judge(process.returncode, words)


@contextmanager
def child(lease: Lease) -> Iterator[subprocess.Popen[bytes]]:
    """The child with its standard input held open: it dies of the end of that pipe, so it cannot outlive us."""
    command = [sys.executable, "-m", "worker.child", str(lease.job_id), lease.owner, str(lease.attempt)]
    log = files.job_log(lease.job_id)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        close(process.stdin, process.stdout)


def close(*pipes: IO[bytes] | None) -> None:
    for pipe in pipes:
        if pipe is not None:
            pipe.close()


def watch(process: subprocess.Popen[bytes], lease: Lease) -> None:
    """Wait for the child's end, renewing the lease; raise when somebody wants it to end earlier."""
    renew = every(RENEW_EVERY)
    while not ended(process, LOOK_EVERY):
        if stopping.is_set():
            raise Released
        if renew() and not held(lease):
            raise LeaseLost(f"Job {lease.job_id} now belongs to another worker.")
        if wants_cancel(lease):
            ended(process, GRACE)
            raise Cancelled


def every(seconds: float) -> Callable[[], bool]:
    """A question that answers yes once per `seconds`."""
    due = time.monotonic() + seconds

    def ask() -> bool:
        nonlocal due
        if time.monotonic() < due:
            return False
        due = time.monotonic() + seconds
        return True

    return ask


def ended(process: subprocess.Popen[bytes], patience: float) -> bool:
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        return False
    return True


def held(lease: Lease) -> bool:
    with session() as s:
        return jobs.renew(s, lease)


def wants_cancel(lease: Lease) -> bool:
    with session() as s:
        return jobs.wishes(s, lease).cancel


def judge(code: int, words: str) -> None:
    """Turn the child's exit code into the ending it stands for."""
    if code == endings.CANCELLED:
        raise Cancelled
    if code == endings.LEASE_LOST:
        raise LeaseLost("The child lost its lease.")
    if code != 0:
        raise ChildFailed(endings.explain_exit(code, words))
