"""Whether a training still learns: it ends a run whose loss has left all numbers, or all reason, for good."""

import math
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from worker.endings import DivergedError

BAD_STEPS = 10  # in a row
# Nats above what the run has been at: e^3 is 20 times less likely for each token, and no noise of batches.
MARGIN, TIMES = 3.0, 2.0
MEMORY = 0.9  # of the mean that a loss is compared with
ADVICE = (
    "The training diverged: for {steps} steps in a row, the last of them step {step}, {what}. Lower the learning rate "
    "(a third is a good next try), or raise the batch size, and start it again."
)


class Health(TrainerCallback):  # type: ignore[misc]  # transformers is not checked
    """Judges each step by the loss that the trainer puts into `loss`.

    A step whose loss or gradient is no number moves no weight: one such batch alone does not end the run.
    """

    def __init__(self) -> None:
        self.loss = 0.0  # of the step that is about to be made
        self.mean: float | None = None
        self.lowest = math.inf
        self.bad = 0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        optimizer = kwargs["optimizer"]
        finite = math.isfinite(self.loss) and all_finite(optimizer)
        if not finite:
            optimizer.zero_grad(set_to_none=True)
        if finite and not self.exploded():
            self.bad = 0
            self.learn()
            return
        self.bad += 1
        if self.bad >= BAD_STEPS:
            what = f"the loss was {self.loss:.3g}" if finite else "the loss or its gradient was not a number"
            raise DivergedError(ADVICE.format(steps=self.bad, step=state.global_step + 1, what=what))

    def exploded(self) -> bool:
        return self.loss > TIMES * self.lowest + MARGIN

    def learn(self) -> None:
        self.mean = self.loss if self.mean is None else MEMORY * self.mean + (1 - MEMORY) * self.loss
        self.lowest = min(self.lowest, self.mean)

    def told(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"mean": self.mean, "bad": self.bad, "lowest": self.lowest if self.mean is not None else None}

    def take(self, told: dict[str, Any]) -> None:
        self.mean, self.bad = told["mean"], told["bad"]
        self.lowest = math.inf if told["lowest"] is None else told["lowest"]


def all_finite(optimizer: torch.optim.Optimizer) -> bool:
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients)).item())
