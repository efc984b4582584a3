"""Loss on rows that a run does not train on, while it trains; when it falls no more the run may end.

These rows are taken from the training rows: those on which the job is scored have no say in when it ends.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from worker import ranks
from worker.examples import Example
from worker.generate import response_losses
from worker.snapshot import Tensors, put_back, weights

METRIC = "validation_loss"
MEASUREMENTS = 20  # of a run, unless the plan says how often
Teller = Callable[[int, Mapping[str, float]], None]


class Validation(TrainerCallback):  # type: ignore[misc]  # transformers is not checked
    """Measures every so many steps; with patience it keeps the adapter of the best measurement and ends the run."""

    def __init__(self, examples: Sequence[Example], every: int, patience: int) -> None:
        self.examples, self.every, self.patience = examples, every, patience
        self.tell: Teller | None = None
        self.best, self.best_step, self.worse = math.inf, 0, 0
        self.best_weights: Tensors = {}
        self.ended_at: int | None = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        every = self.every or -(-state.max_steps // MEASUREMENTS)
        if state.global_step % every and state.global_step != state.max_steps:
            return
        loss = self.measure(kwargs["model"])
        if self.tell:
            self.tell(state.global_step, {METRIC: loss})
        self.judge(loss, state.global_step, kwargs["model"])
        if self.patience and self.worse >= self.patience and state.global_step < state.max_steps:
            self.ended_at = state.global_step
            control.should_training_stop = control.should_log = True

    def measure(self, model: nn.Module) -> float:
        """Nats a token; each of several processes measures its part."""
        mine = self.examples[ranks.processes().process_index :: ranks.processes().num_processes]
        was_training = model.training
        model.eval()
        losses = response_losses(model, mine)
        model.train(was_training)
        loss, tokens = ranks.total([sum(losses), sum(example.trained for example in mine)])
        return loss / tokens

    def judge(self, loss: float, step: int, model: nn.Module) -> None:
        if loss < self.best:
            self.best, self.best_step, self.worse = loss, step, 0
            if self.patience:
                self.best_weights = {name: weight.clone() for name, weight in weights(model).items()}
        else:
            self.worse += 1

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.best_weights:
            put_back(kwargs["model"], self.best_weights)

    def told(self) -> dict[str, Any]:
        """For a checkpoint, beside `best_weights`."""
        best = self.best if math.isfinite(self.best) else None
        return {"best": best, "best_step": self.best_step, "worse": self.worse}

    def take(self, told: dict[str, Any], best_weights: Tensors) -> None:
        self.best = math.inf if told["best"] is None else told["best"]
        self.best_step, self.worse, self.best_weights = told["best_step"], told["worse"], best_weights

    def note(self, total: int) -> str | None:
        """What the person should know of how the run ended."""
        if not self.best_weights:
            return None
        kept = f"The adapter of step {self.best_step}, whose validation loss was the lowest, was kept."
        if self.ended_at is None:
            return kept
        return (
            f"Training ended early at step {self.ended_at} of {total}: the validation loss had not fallen for "
            f"{self.patience} measurements. {kept}"
        )
