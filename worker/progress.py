"""Training told as rows while it goes on; the same callback sees a cancel within one step."""

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from db import jobs
from db.jobs import Lease
from db.session import session
from worker.endings import Cancelled

TELL_EVERY = 0.5  # seconds between two writes of the step
SHOWN = ("loss", "learning_rate", "grad_norm")


class Progress(TrainerCallback):  # type: ignore[misc]  # transformers is not checked
    """Writes step and curves, and stops the training when the person, or another worker, says so."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.told = 0.0
        self.since = time.monotonic()
        self.tokens = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.since, self.tokens = time.monotonic(), float(state.num_input_tokens_seen)
        with session() as s:
            jobs.progress(s, self.lease, stage="Training", step=state.global_step, total_steps=state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        with session() as s:
            if jobs.wishes(s, self.lease).cancel:
                raise Cancelled
            if time.monotonic() - self.told > TELL_EVERY or state.global_step == state.max_steps:
                self.told = time.monotonic()
                jobs.progress(s, self.lease, step=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        metrics = {name: float(value) for name, value in (logs or {}).items() if name in SHOWN}
        if "loss" in metrics:  # not the summary at the end
            with session() as s:
                jobs.progress(
                    s, self.lease, step=state.global_step, metrics=metrics | {"tokens_per_second": self.speed(state)}
                )

    def speed(self, state: TrainerState) -> float:
        """Tokens a second since the last time it was asked."""
        now, tokens = time.monotonic(), float(state.num_input_tokens_seen)
        speed = (tokens - self.tokens) / (now - self.since)
        self.since, self.tokens = now, tokens
        return speed
