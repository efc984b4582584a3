from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from prolora.chat import ChatTokenizer
from prolora.plan import Plan
from tests.worker.conftest import PROLORA, TEXTS, rows_of
from worker import base, train
from worker.checkpoints import write
from worker.examples import Example, encode
from worker.order import NO_ROW, SeededOrder


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


def test_rows_of_one_length_are_only_shuffled() -> None:
    drawn = list(SeededOrder([1] * 40, batch_size=4, seed=1))
    assert sorted(drawn) == list(range(40))
    assert drawn != list(range(40))


def test_a_batch_in_parts_has_the_rows_of_one_in_a_piece_and_its_last_part_may_be_empty() -> None:
    lengths = [3, 9, 4, 1, 7, 7, 2, 5, 6, 8]
    whole, parts = (SeededOrder(lengths, batch_size=4, seed=1, parts=parts) for parts in (1, 2))
    assert list(parts) == [*whole, NO_ROW, NO_ROW]
    assert (len(whole), len(parts)) == (10, 12)


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

        trainer = train.trainer_of(plan, train.attach(base.load(tiny_base, "none", 128), plan), examples, folder)
        lay_out = trainer.data_collator

        def collate(items: list[Example]) -> dict[str, torch.Tensor]:
            tensors = lay_out(items)
            seen.append(tensors["input_ids"])
            return tensors

        trainer.data_collator = collate
        trainer.args.save_steps = 9
        trainer.keep = lambda step, snapshot: write(folder / f"checkpoint-{step}", snapshot)
        trainer.add_callback(Stop(stop_at))
        trainer.train(resume_from_checkpoint=checkpoint)
        return seen

    whole = run(tmp_path / "whole", 100, None)
    run(tmp_path / "cut", 9, None)  # in the middle of the second epoch of seven steps
    rest = run(tmp_path / "cut", 100, str(tmp_path / "cut" / "checkpoint-9"))
    steps = len(whole) - 9
    assert steps == 12
    assert all(torch.equal(a, b) for a, b in zip(rest[-steps:], whole[-steps:], strict=True))
