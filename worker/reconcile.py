"""`python -m worker.reconcile`: puts right, every two seconds, what dead workers and lost messages left behind."""

import signal
import threading
import time
from datetime import datetime
from types import FrameType

import structlog

from db import jobs
from db.jobs import Lease
from db.models import now
from db.outage import DatabaseAway, once
from db.queue import ring_again

EVERY = 2.0

log = structlog.get_logger()
stopping = threading.Event()


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    watch = Watch()
    while not stopping.is_set():
        try:
            reconcile(watch)
        except DatabaseAway as error:
            log.warning("looking again", error=str(error))
            watch.forget()
        stopping.wait(EVERY)


class Watch:
    """Tells dead holders by this process's own steady clock: no clock of theirs, or jump of ours, ends a lease."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Lease, datetime | None], float] = {}

    def forget(self) -> None:
        """While the database is away nobody can renew, so that every holder has its whole time anew."""
        self._seen.clear()

    def dead(self, held: dict[Lease, datetime | None], at: float) -> list[Lease]:
        """The leases that have stood as they are for a lease's whole time."""
        self._seen = {state: self._seen.get(state, at) for state in held.items()}
        patience = jobs.lease_time().total_seconds()
        return [lease for (lease, _), since in self._seen.items() if at - since > patience]


def reconcile(watch: Watch) -> None:
    waiting = once(lambda s: jobs.sweep(s, now(), watch.dead(jobs.leases(s), time.monotonic())))
    ring_again(waiting)  # after the commit, so that whoever hears a bell finds its job


def stop(_number: int, _frame: FrameType | None) -> None:
    stopping.set()


if __name__ == "__main__":
    main()
