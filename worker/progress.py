"""Training told as rows while it goes on; the same callback hears a cancel or a stop within one step."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sqlalchemy.orm import Session
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from db import jobs, outage
from db.jobs import Lease, LeaseLost
from db.outage import DatabaseAway
from worker import ranks
from worker.endings import Cancelled
from worker.memory import Memory

TELL_EVERY = 0.5  # seconds between two writes of the step
CHECKPOINT_EVERY = 600.0  # seconds; a short run has some more often
SHOWN = ("loss", "learning_rate", "grad_norm")
GO_ON, STOP, CANCEL, LOST = range(4)


class Progress(TrainerCallback):  # type: ignore[misc]  # transformers is not checked
    """Writes step and curves, and stops the training when the person, or another worker, says so.

    While the database is away the training goes on, and the curves wait here.
    """

    def __init__(self, lease: Lease, memory: Memory, tokens: Callable[[], float]) -> None:
        self.lease, self.memory, self.tokens = lease, memory, tokens
        self.told = 0.0
        self.since = self.saved = time.monotonic()
        self.untold: dict[int, dict[str, float]] = {}
        self.stopped = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.since = self.saved = time.monotonic()
        if ranks.leads():
            begun = partial(
                jobs.progress, lease=self.lease, stage="Training", step=state.global_step, total_steps=state.max_steps
            )
            outage.patiently(begun)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        wish = ranks.from_the_first(self.wish(state) if ranks.leads() else GO_ON)
        if wish == CANCEL:
            raise Cancelled
        if wish == LOST:
            raise LeaseLost(f"Job {self.lease.job_id} is another's.")
        if wish == STOP:
            self.stopped = control.should_training_stop = control.should_log = control.should_save = True
        due = time.monotonic() - self.saved > CHECKPOINT_EVERY and control.should_log  # between two logs losses add up
        if ranks.from_the_first(int(due)):
            control.should_save = True

    def wish(self, state: TrainerState) -> int:
        """What the person wants by now; nothing new while the database is away."""
        try:
            return outage.once(partial(self.ask_and_tell, state))
        except DatabaseAway:
            return GO_ON
        except LeaseLost:
            return LOST

    def ask_and_tell(self, state: TrainerState, s: Session) -> int:
        wishes = jobs.wishes(s, self.lease)
        if wishes.cancel:
            return CANCEL
        if time.monotonic() - self.told > TELL_EVERY or state.global_step == state.max_steps:
            jobs.progress(s, self.lease, step=state.global_step)
            self.told = time.monotonic()
        return STOP if wishes.stop else GO_ON

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.saved = time.monotonic()

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
            now = {"tokens_per_second": self.speed(), "memory": float(self.memory.now())}
            self.tell(state.global_step, metrics | now)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if ranks.leads():
            outage.patiently(partial(self.write, step=state.global_step))
            outage.patiently(partial(write_peak, self.lease, self.memory.peak()))

    def speed(self) -> float:
        """Tokens a second since the last time it was asked."""
        now = time.monotonic()
        speed = self.tokens() / (now - self.since)
        self.since = now
        return speed

    def tell(self, step: int, metrics: Mapping[str, float]) -> None:
        if not ranks.leads():
            return
        self.untold.setdefault(step, {}).update(metrics)
        try:
            outage.once(partial(self.write, step=step))
        except DatabaseAway:
            return
        self.untold.clear()

    def write(self, s: Session, step: int) -> None:
        for at, metrics in self.untold.items():
            jobs.progress(s, self.lease, step=at, metrics=metrics)
        jobs.progress(s, self.lease, step=step)


def note(lease: Lease, text: str) -> None:
    """Add what the person should know of the run to what was said before, once."""
    outage.patiently(partial(add_note, lease, text))


def add_note(lease: Lease, text: str, s: Session) -> None:
    job = jobs.hold(s, lease)
    if text not in (job.note or ""):
        job.note = f"{job.note}\n{text}" if job.note else text


def write_peak(lease: Lease, peak: int, s: Session) -> None:
    job = jobs.hold(s, lease)
    job.peak_bytes = max(peak, job.peak_bytes or 0)
