"""Queues the probes of a seed, as a page would: `python -m bench.submit SEED JOBS PAUSE`.

Killed and started again it goes on where it was: each probe has a name of its own.
"""

import random
import sys
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench import audit
from db import jobs
from db.models import OWNER, Job
from db.outage import patiently
from db.queue import enqueue

FAILING, CANCELLED, WAITING = 0.05, 0.05, 0.1  # shares
FAULTS = ("error", "bad-input", "out-of-memory", "diverged", "killed")


@dataclass(frozen=True)
class Probe:
    """What is asked for: a plan, whether it waits for the one before it, and whether it is thought better of."""

    name: str
    plan: dict[str, Any]
    waits: bool
    cancelled: bool


def probe(seed: int, number: int) -> Probe:
    draw = random.Random(f"{seed} {number}")
    steps = draw.randint(1, 5)
    plan: dict[str, Any] = {"steps": steps, "seconds": draw.uniform(0, 0.2)}
    if draw.random() < FAILING:
        plan |= {"fail_at": draw.randint(1, steps), "fail_as": draw.choice(FAULTS)}
    return Probe(f"probe {number}", plan, number > 1 and draw.random() < WAITING, draw.random() < CANCELLED)


def submit(s: Session, asked: Probe, before: int | None) -> int:
    """The id of a probe that is queued by now; the answer to an earlier commit may have been lost."""
    found = s.scalar(select(Job.id).where(Job.name == asked.name))
    if found is not None:
        return found
    return jobs.submit(
        s,
        Job(
            owner_id=OWNER,
            dataset_id=audit.dataset(s),
            name=asked.name,
            kind="probe",
            plan=asked.plan,
            parameters=0,
            after_id=before if asked.waits else None,
        ),
    )


def main(seed: int, number: int, pause: float) -> None:
    before: int | None = None
    for place in range(1, number + 1):
        before = queue(probe(seed, place), before)
        time.sleep(pause)


def queue(asked: Probe, before: int | None) -> int:
    job_id = patiently(lambda s: submit(s, asked, before))
    enqueue(job_id)
    if asked.cancelled:
        patiently(lambda s: jobs.request_cancel(s, job_id))
    return job_id


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
