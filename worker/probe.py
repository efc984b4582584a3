"""A light job: the whole road of a job, from the claim to its ending, without a model. Loads no torch."""

import os
import signal
import time
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db import jobs
from db.jobs import Lease
from db.models import Job
from db.outage import patiently
from prolora.errors import StudioError
from worker.endings import Cancelled, DivergedError
from worker.work import plan_of


class ProbeError(StudioError):
    """A probe that cannot be, or was told to fail."""


@dataclass(frozen=True)
class Probe:
    """Its plan: so many steps of so many seconds, and perhaps a fault in one of them."""

    steps: int = 3
    seconds: float = 0.01
    fail_at: int = 0  # the step that fails; 0: none
    fail_as: str = "error"  # one of FAULTS

    def __post_init__(self) -> None:
        if self.steps < 1 or self.seconds < 0 or self.fail_as not in FAULTS:
            raise ProbeError(f"A probe has a step at least, and fails as one of {', '.join(FAULTS)}: {self}.")


FAULTS: dict[str, BaseException | None] = {
    "error": RuntimeError("A probe was told to fail."),
    "bad-input": ProbeError("A probe was told to refuse its input."),
    "out-of-memory": MemoryError(),
    "diverged": DivergedError("A probe was told to diverge."),
    "killed": None,  # by the system, without a word
}


def run(lease: Lease) -> None:
    """Step by step; an attempt goes on where the last one was lost."""
    probe = Probe(**plan_of(lease))
    first = patiently(lambda s: s.get_one(Job, lease.job_id).step) + 1
    patiently(lambda s: jobs.progress(s, lease, stage="Probing", total_steps=probe.steps))
    for step in range(first, probe.steps + 1):
        time.sleep(probe.seconds)
        if step == probe.fail_at:
            fail(probe.fail_as)
        if not go_on(lease, step):
            return


def go_on(lease: Lease, step: int) -> bool:
    """Tell a step; False when the person wants no more of them."""

    def tell(s: Session) -> jobs.Wishes:
        jobs.progress(s, lease, step=step, metrics={"steps": float(step)})
        return jobs.wishes(s, lease)

    wishes = patiently(tell)
    if wishes.cancel:
        raise Cancelled
    return not wishes.stop


def fail(how: str) -> None:
    fault = FAULTS[how]
    if fault is None:
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        raise fault
