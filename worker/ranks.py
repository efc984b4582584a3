"""Several processes that train one adapter together, one a device: the first of them speaks for all.

Only the first asks the database and writes rows and files; what it has heard it passes on, so that all do the same
after the same step.
"""

from datetime import timedelta

import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from accelerate.utils import broadcast, gather  # type: ignore[import-untyped]

from worker.base import device

PATIENCE = timedelta(hours=12)  # of the others, while the first fetches a base model or waits for the database


def processes() -> PartialState:
    """Of one process when nothing has started it as one of several."""
    return PartialState(cpu=device() == "cpu", timeout=PATIENCE)


def leads() -> bool:
    return bool(processes().is_main_process)


def from_the_first(number: int) -> int:
    """What the first process says, for each; the others' own numbers mean nothing."""
    state = processes()
    return int(broadcast(torch.tensor([number], device=state.device)).item())


def average(value: torch.Tensor) -> float:
    """Of the values that the processes hold."""
    return float(gather(value.reshape(1).to(processes().device)).mean().item())


def total(values: list[float]) -> list[float]:
    """The sum over the processes of each value."""
    state = processes()
    rows = gather(torch.tensor([values], dtype=torch.float64, device=state.device))
    return [float(each) for each in rows.sum(dim=0).tolist()]
