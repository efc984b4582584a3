from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback

from prolora.chat import ChatTokenizer
from prolora.plan import Plan
from tests.worker.conftest import PROLORA, TEXTS, rows_of
from worker import base, train
from worker.examples import encode
from worker.order import SeededOrder


def test_every_epoch_has_every_row_once_in_an_order_of_its_own() -> None:
    order = SeededOrder([3, 9, 4, 1, 7, 7, 2, 5], batch_size=2, seed=1)
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    assert sorted(first) == sorted(second) == list(range(8))
    assert first != second
    order.set_epoch(0)
    assert list(order) == first
    assert list(SeededOrder(order.lengths, 2, seed=2)) != first


class Stop(TrainerCallback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step >= self.at


def test_a_resumed_run_sees_the_rows_that_an_uninterrupted_one_would_have_seen(tiny_base: Path, tmp_path: Path) -> None:
    plan = Plan("prolora", PROLORA, "x", batch_size=6, epochs=3, max_length=128, learning_rate=1e-3)
    examples = encode(ChatTokenizer(tiny_base), rows_of(TEXTS), plan.max_length)

    def run(folder: Path, stop_at: int, checkpoint: str | None) -> list[torch.Tensor]:
        seen: list[torch.Tensor] = []

        def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
            tensors = train.collate(0, items)
            seen.append(tensors["input_ids"])
            return tensors

        arguments = train.arguments(plan, len(examples), folder)
        arguments.save_steps = 9
        trainer: Trainer = train.OrderedTrainer(
            model=train.attach(base.load(tiny_base, "none", plan.max_length), plan),
            args=arguments,
            train_dataset=[{"input_ids": example.ids, "example": example} for example in examples],
            data_collator=collate,
            callbacks=[Stop(stop_at)],
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        return seen

    whole = run(tmp_path / "whole", 100, None)
    run(tmp_path / "cut", 9, None)  # in the middle of the second epoch of seven steps
    rest = run(tmp_path / "cut", 100, train.last_whole_checkpoint(tmp_path / "cut"))
    steps = len(whole) - 9
    assert steps == 12
    assert all(torch.equal(a, b) for a, b in zip(rest[-steps:], whole[-steps:], strict=True))
