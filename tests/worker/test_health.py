"""What ends a training before its last step: a loss that has left all reason, or one that falls no more."""

import math

import pytest
import torch
from transformers import TrainerControl, TrainerState

from prolora.plan import Plan
from tests.worker.conftest import PROLORA, TEXTS, Studio, claimed, rows_of
from tests.worker.test_resume import curve
from tests.worker.test_train import train_once
from worker import road, work
from worker.endings import DivergedError, reason_of
from worker.health import BAD_STEPS, Health
from worker.validation import Validation


class Run:
    """Steps of a model of one weight, whose loss and gradient are said."""

    def __init__(self) -> None:
        self.health = Health()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.optimizer = torch.optim.SGD([self.weight], lr=0.1)

    def step(self, loss: float, gradient: float = 1.0) -> None:
        self.weight.grad = torch.tensor([gradient])
        self.health.loss = loss
        self.health.on_pre_optimizer_step(None, TrainerState(), TrainerControl(), optimizer=self.optimizer)
        self.optimizer.step()


@pytest.mark.parametrize(("loss", "gradient"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_a_step_that_is_no_number_moves_nothing_and_a_row_of_them_ends_the_run(loss: float, gradient: float) -> None:
    run = Run()
    for _ in range(BAD_STEPS - 1):
        run.step(loss, gradient)
    assert run.weight.item() == 1.0
    run.step(1.0)
    assert run.weight.item() == pytest.approx(0.9)
    for _ in range(BAD_STEPS - 1):
        run.step(loss, gradient)
    with pytest.raises(DivergedError, match=r"10 steps in a row, the last of them step 1, .* not a number") as raised:
        run.step(loss, gradient)
    assert reason_of(raised.value) == "diverged"


def test_a_loss_far_above_where_it_was_ends_the_run_and_a_hard_batch_does_not() -> None:
    run = Run()
    for loss in (2.0, 1.5, 4.0, 1.0, 6.0, 0.5):
        run.step(loss)
    for _ in range(BAD_STEPS - 1):
        run.step(30.0)
    with pytest.raises(DivergedError, match="the loss was 30"):
        run.step(30.0)


def test_a_run_that_goes_on_from_a_checkpoint_remembers_how_low_the_loss_was() -> None:
    before, after = Run(), Run()
    for loss in (2.0, 1.0, 30.0):
        before.step(loss)
    after.health.take(before.health.told())
    for _ in range(BAD_STEPS - 2):
        after.step(30.0)
    with pytest.raises(DivergedError):
        after.step(30.0)


def test_a_learning_rate_beyond_all_reason_fails_with_advice(studio: Studio) -> None:
    plan = studio.plan(learning_rate=1e36, epochs=3, quantization="none")
    with pytest.raises(DivergedError, match=r"The training diverged: .* Lower the learning rate"):
        train_once(studio, claimed(studio.submit(plan)))


class Measured(Validation):
    """Told its losses instead of measuring them."""

    def __init__(self, losses: list[float], patience: int) -> None:
        super().__init__([], every=2, patience=patience)
        self.losses = iter(losses)

    def measure(self, model: torch.nn.Module) -> float:
        return next(self.losses)


def ended(validation: Validation) -> tuple[int, float]:
    """The step at which a run of 20 ends, and the weight it leaves; each step adds one to it."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    control, state = TrainerControl(), TrainerState(max_steps=20)
    while state.global_step < 20 and not control.should_training_stop:
        with torch.no_grad():
            model.weight += 1
        state.global_step += 1
        validation.on_step_end(None, state, control, model=model)
    validation.on_train_end(None, state, control, model=model)
    return state.global_step, model.weight.item()


def test_patience_ends_the_run_and_keeps_the_best_adapter() -> None:
    validation = Measured([3.0, 2.0, 2.5, 1.9, 2.1, 2.2], patience=2)
    assert ended(validation) == (12, 8)
    assert validation.note(20) == (
        "Training ended early at step 12 of 20: the validation loss had not fallen for 2 measurements. "
        "The adapter of step 8, whose validation loss was the lowest, was kept."
    )


def test_without_patience_the_run_is_only_watched() -> None:
    validation = Measured([1.0, *[2.0] * 9], patience=0)
    assert ended(validation) == (20, 20)
    assert validation.note(20) is None


def test_a_loss_that_is_no_number_is_never_the_best() -> None:
    assert ended(Measured([3.0, *[math.nan] * 9], patience=3)) == (8, 2)


def test_watched_rows_are_training_rows_that_are_not_trained_on(studio: Studio) -> None:
    lease = claimed(studio.submit(studio.plan(validation_share=0.3, evaluate_every=1)))
    road.travel(work.load(lease))
    assert set(curve(lease.job_id, "validation_loss")) == set(range(1, studio.job(lease.job_id).total_steps + 1))


def test_the_rows_a_job_is_scored_on_have_no_say_in_when_it_ends(studio: Studio) -> None:
    from prolora.chat import ChatTokenizer
    from prolora.dataset import split

    rows = rows_of(TEXTS)
    training, scored = split(rows)
    plan = Plan("prolora", PROLORA, "x", validation_share=0.3, max_length=128)
    lesson = road.lesson_of(plan, ChatTokenizer(studio.base), training)
    whole = road.lesson_of(Plan("prolora", PROLORA, "x", max_length=128), ChatTokenizer(studio.base), training)
    seen = [tuple(example.ids) for example in [*lesson.examples, *lesson.validation]]
    assert sorted(seen) == sorted(tuple(example.ids) for example in whole.examples)
    assert len(seen) + len(scored) == len(rows)
    assert len(lesson.validation) > 3
    assert whole.validation == []
