"""The kinds of jobs: what the child runs for each. Loads no torch until a step needs it."""

from collections.abc import Callable
from dataclasses import dataclass

from db.jobs import Lease
from prolora.base_models import find
from worker import probe, work


@dataclass(frozen=True)
class Step:
    run: Callable[[Lease], None]
    heavy: bool  # loads torch: worth a spare child that has done so already


def travel(lease: Lease) -> None:
    """Train, keep and measure; or measure alone what the job before has kept."""
    job = work.load(lease)
    find(job.plan.base_model)  # a base that is not there is told before the seconds of the imports below
    from worker import road  # torch and transformers: seconds, so the page is told first

    road.travel(job)


STEPS: dict[str, Step] = {
    "train": Step(travel, heavy=True),
    "evaluate": Step(travel, heavy=True),
    "probe": Step(probe.run, heavy=False),
}
