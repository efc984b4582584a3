"""One worker: `python -m worker`. One for each card, pinned by CUDA_VISIBLE_DEVICES, all on one queue."""

import sys

import worker.tasks  # noqa: F401  # the queue's one task
from db.queue import JOBS, queue

# One thread, which supervises one child a job. Workers have nothing to tell one another: SQL arbitrates.
OPTIONS = ("-P", "threads", "-c", "1", "-Q", JOBS, "-l", "INFO", "--without-gossip", "--without-mingle")


def main(more: list[str]) -> None:
    """`more` are options of Celery's worker, as `--hostname` for a second one on the same machine."""
    queue.worker_main(["worker", *OPTIONS, *more])


if __name__ == "__main__":
    main(sys.argv[1:])
