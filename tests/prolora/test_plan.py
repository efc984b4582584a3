from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from prolora.errors import PlanError
from prolora.plan import Plan, Setting


@pytest.mark.parametrize("numbers", [(0, 0, 1, 1), (4, 5, 2, 2), (4, -1, 2, 2), (4, 1, 0, 2), (4, 1, 2, 0)])
def test_a_setting_that_cannot_be_is_refused(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(PlanError):
        Setting(*numbers)


@pytest.mark.parametrize("rank", [4.0, True, "4", None, float("nan"), Decimal(4), np.int64(4)])
@pytest.mark.parametrize("place", range(4))
def test_a_setting_is_of_whole_numbers(rank: Any, place: int) -> None:
    numbers = [8, 4, 4, 4]
    numbers[place] = rank
    with pytest.raises(PlanError, match="must be a whole number"):
        Setting(*numbers)


def test_rolls_repeat_when_the_chunk_has_fewer_ranks_than_copies() -> None:
    assert Setting(8, 1, 7, 7).rolls_are_distinct
    assert not Setting(7, 1, 7, 7).rolls_are_distinct
    assert Setting.lora(8).rolls_are_distinct


def test_a_plan_survives_json() -> None:
    plan = Plan("prolora", Setting(8, 1, 7, 7), "demo", target_modules=("q_proj", "v_proj"))
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "vera"},
        {"method": "lora"},
        {"alpha": 0},
        {"learning_rate": -1e-3},
        {"learning_rate": float("nan")},
        {"epochs": 0},
        {"epochs": 1001},
        {"alpha": float("inf")},
        {"learning_rate": float("inf")},
        {"batch_size": 2.5},
        {"batch_size": True},
        {"max_length": float("nan")},
        {"seed": 1.5},
        {"epochs": float("inf")},
        {"batch_size": 4097},
        {"max_length": 131073},
        {"seed": -1},
        {"seed": 2**32},
        {"dropout": 1.0},
        {"max_length": 8},
        {"quantization": "int3"},
        {"target_modules": ()},
        {"target_modules": ("lm_head",)},
    ],
)
def test_a_plan_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(PlanError):
        Plan(**{"method": "prolora", "setting": Setting(8, 1, 7, 7), "base_model": "demo", **wrong})
