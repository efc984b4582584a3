"""The process one job runs in: `python -m worker.child <job id> <owner> <attempt>`.

It lives as long as its standard input: when the worker is gone, however it went, so is the child.
Standard output carries one thing to the supervisor, the sentence a failed job ends with; all else goes to the log.
"""

import os
import sys
import threading
import traceback
from types import TracebackType

from db.jobs import Lease, LeaseLost
from prolora.base_models import find
from worker import endings
from worker.endings import Cancelled


def main(job_id: str, owner: str, attempt: str) -> int:
    threading.Thread(target=die_with_the_worker, daemon=True).start()
    lease = Lease(int(job_id), owner, int(attempt))
    try:
        run(lease)
    except Cancelled:
        return endings.CANCELLED
    except LeaseLost:
        return endings.LEASE_LOST
    return 0


def run(lease: Lease) -> None:
    from worker import work

    job = work.load(lease)
    find(job.plan.base_model)  # a base that is not there is told before the seconds of the imports below
    work.say(lease, "Starting")
    from worker import road  # torch and transformers: seconds, so the page is told first

    road.travel(job)


def die_with_the_worker() -> None:
    os.read(0, 1)
    os._exit(endings.FAILED)


def last_words(voice: int) -> None:
    """Let an error's traceback go to the log and its sentence to the supervisor."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        traceback.print_exception(kind, error, trace)
        os.write(voice, endings.explain(error).encode())

    sys.excepthook = hook


if __name__ == "__main__":
    last_words(os.dup(1))
    os.dup2(2, 1)  # what libraries print belongs into the log
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # at once: interpreter shutdown with torch's threads takes a second and may hang
