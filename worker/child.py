"""The process one job runs in: `python -m worker.child <job id> <owner> <attempt>`.

Without these words it is a spare: it loads what a job needs, touches no card and no row, and waits for them as a line
of its standard input. It lives as long as that input: when the worker is gone, however it went, so is the child.
Standard output carries one thing to the supervisor, how a job that did not succeed ends; all else goes to the log.
"""

import os
import queue
import sys
import threading
import traceback
from contextlib import suppress
from types import TracebackType

from db import files
from db.jobs import Lease, LeaseLost
from worker import endings, record, work
from worker.endings import Cancelled
from worker.steps import STEPS

SPARE_NICE = 10  # while a spare loads, a job may be training beside it


def main(words: list[str]) -> None:
    heard: queue.Queue[str] = queue.Queue()
    threading.Thread(target=listen, args=(heard,), daemon=True).start()
    if not words:
        load_quietly()
        words = heard.get().split()
        write_to(files.job_log(int(words[0])))
    job_id, owner, attempt = words
    run(Lease(int(job_id), owner, int(attempt)))


def run(lease: Lease) -> None:
    if leads():
        work.say(lease, "Starting")
        record.note(lease, **record.surroundings())
    STEPS[work.assignment(lease).kind].run(lease)


def leads() -> bool:
    """Of several processes for one job, which torchrun numbers, the first speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def listen(heard: "queue.Queue[str]") -> None:
    """To standard input; at its end the worker is gone, and so is this process."""
    for line in sys.stdin:
        heard.put(line)
    os._exit(endings.FAILED)


def load_quietly() -> None:
    """All that training imports, in a thread of low priority; no process may give itself back what it has given up."""
    loading = threading.Thread(target=load)
    loading.start()
    loading.join()


def load() -> None:
    if sys.platform == "linux":  # elsewhere the whole process would be meant
        os.setpriority(os.PRIO_PROCESS, 0, SPARE_NICE)
    from worker import road as road


def write_to(log: "os.PathLike[str]") -> None:
    """What is printed from now on belongs to a job."""
    sink = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(sink, 2)
    os.dup2(sink, 1)
    os.close(sink)


def last_words(voice: int) -> None:
    """Let an error's traceback go to the log and its meaning to the supervisor."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, Cancelled | LeaseLost):
            with suppress(OSError):  # the log may be on the disk that is full
                traceback.print_exception(kind, error, trace)
        os.write(voice, endings.farewell(error).line)
        leave(endings.FAILED)

    sys.excepthook = hook


def leave(code: int) -> None:
    """At once: interpreter shutdown with torch's threads takes a second and may hang."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    last_words(os.dup(1))
    os.dup2(2, 1)  # what libraries print belongs into the log
    main(sys.argv[1:])
    leave(0)
