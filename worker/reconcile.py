"""`python -m worker.reconcile`: puts right, every two seconds, what dead workers and lost messages left behind."""

import signal
import threading
from types import FrameType

import structlog
from sqlalchemy.exc import OperationalError

from db import jobs
from db.models import now
from db.queue import enqueue
from db.session import session

EVERY = 2.0

log = structlog.get_logger()
stopping = threading.Event()


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while not stopping.is_set():
        try:
            reconcile()
        except OperationalError as error:
            log.warning("the database does not answer; looking again", error=str(error))
        stopping.wait(EVERY)


def reconcile() -> None:
    with session() as s:
        waiting = jobs.sweep(s, now())
    for job_id in waiting:  # after the commit, so that whoever hears the bell finds the job
        enqueue(job_id)


def stop(_number: int, _frame: FrameType | None) -> None:
    stopping.set()


if __name__ == "__main__":
    main()
