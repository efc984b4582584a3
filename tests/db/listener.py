"""A worker whose only task writes down each id that it hears."""

import os
from pathlib import Path

from db.queue import RUN_JOB, queue


@queue.task(name=RUN_JOB)
def run_job(job_id: int) -> None:
    with Path(os.environ["HEARD"]).open("a") as heard:
        heard.write(f"{job_id}\n")
