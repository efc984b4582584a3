"""Training proper: transformers' Trainer on a frozen base with an adapter in front."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from transformers import PreTrainedModel, Trainer, TrainingArguments, set_seed

from db import files
from prolora.optim import parameter_groups
from prolora.plan import Plan
from prolora.quantized import train_in_float32
from worker.base import device, pad
from worker.examples import Example, batch
from worker.methods import METHODS
from worker.order import SeededOrder
from worker.progress import Progress
from worker.work import Work

POINTS = 100  # of a curve
CHECKPOINTS = 4
CLIP, WARM_UP = 0.3, 0.03


def attach(base: PreTrainedModel, plan: Plan) -> PeftModel:
    """The base with a fresh adapter; its weights stay float32, so that small updates are not rounded away."""
    set_seed(plan.seed)
    model: PeftModel = get_peft_model(base, METHODS[plan.method](plan))
    train_in_float32(model)
    return model


def train(work: Work, model: PeftModel, examples: Sequence[Example]) -> None:
    """Train the adapter in place; goes on from the last whole checkpoint if there is one."""
    run_dir = files.run_dir(work.lease.job_id)
    trainer = trainer_of(work.plan, model, examples, run_dir)
    trainer.add_callback(Progress(work.lease))
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(run_dir))


def trainer_of(plan: Plan, model: PeftModel, examples: Sequence[Example], run_dir: Path) -> "OrderedTrainer":
    return OrderedTrainer(
        model=model,
        args=arguments(plan, len(examples), run_dir),
        train_dataset=[{"input_ids": example.ids, "example": example} for example in examples],
        data_collator=functools.partial(collate, pad(model)),
        optimizer_cls_and_kwargs=optimizer(plan, model),
    )


class OrderedTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer with an order of rows that outlives a restart."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SeededOrder:
        lengths = [len(item["input_ids"]) for item in self.train_dataset]
        return SeededOrder(lengths, self.args.per_device_train_batch_size, self.args.seed)


def collate(filler: int, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return batch([item["example"] for item in items], filler)


def optimizer(plan: Plan, model: PeftModel) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """AdamW without weight decay, in transformers' form, each part of the adapter at its own learning rate."""
    groups = parameter_groups(model, plan.learning_rate, b_ratio=plan.b_lr_ratio, unshared_ratio=plan.unshared_lr_ratio)
    return torch.optim.AdamW, {"params": groups, "lr": plan.learning_rate, "weight_decay": 0.0}


def arguments(plan: Plan, examples: int, run_dir: Path) -> TrainingArguments:
    steps = max(1, round(-(-examples // plan.batch_size) * plan.epochs))
    return TrainingArguments(
        output_dir=str(run_dir),
        per_device_train_batch_size=plan.batch_size,
        num_train_epochs=plan.epochs,
        learning_rate=plan.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=WARM_UP,  # below one it is a share
        max_grad_norm=CLIP,
        bf16=True,
        use_cpu=device() == "cpu",
        dataloader_pin_memory=device() != "cpu",
        remove_unused_columns=False,
        include_num_input_tokens_seen="non_padding",
        logging_steps=max(1, steps // POINTS),
        logging_first_step=True,
        save_steps=max(1, -(-steps // CHECKPOINTS)),
        save_total_limit=1,
        seed=plan.seed,
        disable_tqdm=True,
        report_to="none",
    )


def last_whole_checkpoint(run_dir: Path) -> str | None:
    """The newest folder that has its trainer_state.json, which is written last."""
    whole = [path.parent for path in run_dir.glob("checkpoint-*/trainer_state.json")]
    newest = max(whole, key=lambda path: int(path.name.split("-")[-1]), default=None)
    return str(newest) if newest else None
