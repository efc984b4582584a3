"""transformers' Trainer, with checkpoints, an order of rows and a judgement of each step that are ours."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer

from worker import ranks
from worker.checkpoints import facts_of, tensors_of
from worker.health import Health
from worker.order import SeededOrder
from worker.snapshot import Snapshot, capture, put_back, put_back_optimizer, put_back_random
from worker.validation import Validation

Keeper = Callable[[int, Snapshot], None]


class StudioTrainer(Trainer):  # type: ignore[misc]  # transformers is not checked
    """Every file of a checkpoint is written and read by worker.checkpoints; transformers' own ways, which unpickle,
    are all overridden: _save_checkpoint, and each _load_ that a resumption calls.
    """

    keep: Keeper | None = None  # what becomes of a checkpoint; without it there are none
    lengths: Sequence[int]
    health: Health
    validation: Validation | None = None

    def watch(self, health: Health, validation: Validation | None) -> None:
        self.health, self.validation = health, validation
        self.step_loss = self.tokens = torch.tensor(0.0)
        self.add_callback(health)
        if validation:
            self.add_callback(validation)

    def take_tokens(self) -> float:
        """Tokens that all processes have trained on since this was asked last."""
        (tokens,) = ranks.total([float(self.tokens)])
        self.tokens = torch.tensor(0.0)
        return tokens

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        self.tokens = self.tokens.to(self.args.device) + inputs.pop("tokens")
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        self.step_loss = self.step_loss.to(loss.device) + loss
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """Called once a step, before the weights move: all passes of the batch are done."""
        self.health.loss = ranks.average(self.step_loss)
        self.step_loss = torch.tensor(0.0)
        return super()._clip_grad_norm(model)

    def _get_train_sampler(self, train_dataset: Any = None) -> SeededOrder:
        parts = self.args.world_size * self.args.gradient_accumulation_steps
        return SeededOrder(self.lengths, self.args.train_batch_size * parts, self.args.seed, parts)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        if self.keep is None:
            return
        self.store_flos()
        told = {"health": self.health.told(), "validation": self.validation.told() if self.validation else None}
        snapshot = capture(self, self.validation.best_weights if self.validation else {}, told)
        if ranks.leads():
            self.keep(self.state.global_step, snapshot)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        put_back(self.model, tensors_of(Path(resume_from_checkpoint), "adapter"))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        steps = facts_of(folder, "steps")
        put_back_optimizer(self.optimizer, tensors_of(folder, "optimizer"), steps["groups"])
        self.lr_scheduler.load_state_dict(steps["scheduler"])
        self.health.take(steps["health"])
        if self.validation and steps["validation"]:
            best = (folder / "best.safetensors").exists()
            self.validation.take(steps["validation"], tensors_of(folder, "best") if best else {})

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            put_back_random(tensors_of(Path(checkpoint), "random"), self.args.process_index)

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Training in bfloat16 scales no loss."""

    def _load_callback_state(self) -> None:
        """Ours are read with the optimizer's state."""
