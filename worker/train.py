"""Training proper: transformers' Trainer on a frozen base with an adapter in front."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from transformers import PreTrainedModel, TrainingArguments, set_seed

from db import files
from prolora.optim import parameter_groups
from prolora.plan import SEEDS, Plan
from prolora.quantized import train_in_float32
from worker import checkpoints, ranks
from worker.base import device, pad
from worker.examples import Example, batch
from worker.health import Health
from worker.memory import Memory
from worker.methods import METHODS
from worker.order import Rows
from worker.packing import check_separates, packed
from worker.progress import Progress, note
from worker.trainer import StudioTrainer
from worker.validation import Validation
from worker.work import Work

POINTS = 100  # of a curve
CHECKPOINTS = 4
CLIP, WARM_UP = 0.3, 0.03
Batch = dict[str, torch.Tensor]


def attach(base: PreTrainedModel, plan: Plan) -> PeftModel:
    """The base with a fresh adapter; its weights stay float32, so that small updates are not rounded away."""
    set_seed(plan.seed)
    model: PeftModel = get_peft_model(base, METHODS[plan.method](plan))
    train_in_float32(model)
    return model


def train(
    work: Work,
    model: PeftModel,
    examples: Sequence[Example],
    validation: Sequence[Example] = (),
    memory: Memory | None = None,
) -> None:
    """Train the adapter in place; goes on from the last whole checkpoint if there is one."""
    trainer = trainer_of(work.plan, model, examples, files.run_dir(work.lease.job_id), validation)
    progress = Progress(work.lease, memory or Memory(), trainer.take_tokens)
    trainer.add_callback(progress)
    trainer.keep = functools.partial(checkpoints.put, work.lease)
    if trainer.validation:
        trainer.validation.tell = progress.tell
    trainer.train(resume_from_checkpoint=begin(work))
    tell_end(work, trainer, progress)


def begin(work: Work) -> str | None:
    """The folder to go on from, the same for all processes of a run."""
    found = checkpoints.last(work.lease) if ranks.leads() else None
    step = ranks.from_the_first(found.step if found else 0)
    return str(checkpoints.folder_of(work.lease.job_id, step)) if step else None


def tell_end(work: Work, trainer: StudioTrainer, progress: Progress) -> None:
    if not ranks.leads():
        return
    step, total = trainer.state.global_step, trainer.state.max_steps
    if progress.stopped:
        note(work.lease, f"Stopped as asked after step {step} of {total}; the adapter was kept and measured.")
    if trainer.validation and (how := trainer.validation.note(total)):
        note(work.lease, how)


def trainer_of(
    plan: Plan, model: PeftModel, examples: Sequence[Example], run_dir: Path, validation: Sequence[Example] = ()
) -> StudioTrainer:
    if plan.packing:
        check_separates(model)
    trainer = StudioTrainer(
        model=model,
        args=arguments(plan, len(examples), run_dir, model.get_input_embeddings().weight.dtype),
        train_dataset=Rows(examples),
        data_collator=collator(plan, pad(model)),
        optimizer_cls_and_kwargs=optimizer(plan, model),
    )
    trainer.lengths = [len(example.ids) if plan.group_by_length else 1 for example in examples]
    trainer.watch(Health(), Validation(validation, plan.evaluate_every, plan.patience) if validation else None)
    # Each process drops out what it draws itself; the first one what it would draw alone.
    set_seed((plan.seed + ranks.processes().process_index) % SEEDS)
    return trainer


def collator(plan: Plan, filler: int) -> Callable[[list[Example]], Batch]:
    """Rows to tensors, and how many tokens there are in them."""
    lay_out = functools.partial(packed, width=plan.max_length) if plan.packing else batch

    def collate(examples: list[Example]) -> Batch:
        return {**lay_out(examples, filler), "tokens": torch.tensor(sum(len(each.ids) for each in examples))}

    return collate


def optimizer(plan: Plan, model: PeftModel) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """AdamW without weight decay, in transformers' form, each part of the adapter at its own learning rate."""
    groups = parameter_groups(model, plan.learning_rate, b_ratio=plan.b_lr_ratio, unshared_ratio=plan.unshared_lr_ratio)
    return torch.optim.AdamW, {"params": groups, "lr": plan.learning_rate, "weight_decay": 0.0}


def arguments(plan: Plan, examples: int, run_dir: Path, dtype: torch.dtype) -> TrainingArguments:
    """`dtype` is the base's: what it computes in."""
    steps = max(1, round(-(-examples // plan.batch_size) * plan.epochs))
    logged = max(1, steps // POINTS)
    return TrainingArguments(
        output_dir=str(run_dir),
        per_device_train_batch_size=plan.rows_at_once(ranks.processes().num_processes),
        gradient_accumulation_steps=plan.accumulation,
        gradient_checkpointing=plan.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        num_train_epochs=plan.epochs,
        learning_rate=plan.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=WARM_UP,  # below one it is a share
        max_grad_norm=CLIP,
        bf16=dtype == torch.bfloat16,
        use_cpu=device() == "cpu",
        dataloader_pin_memory=device() != "cpu",
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        logging_steps=logged,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a loss that is no number is a gap in the curve, not the mean of its neighbours
        save_steps=logged * max(1, -(-steps // (CHECKPOINTS * logged))),  # where the sum of losses begins anew
        seed=plan.seed,
        disable_tqdm=True,
        report_to="none",
    )
