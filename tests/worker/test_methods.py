from pathlib import Path
from typing import get_args

import pytest

from prolora.base_models import find
from prolora.budget import count
from prolora.plan import Method, Plan, Setting
from worker import base
from worker.methods import METHODS
from worker.train import attach


def test_every_method_of_a_plan_is_known() -> None:
    assert set(METHODS) == set(get_args(Method))


@pytest.mark.parametrize(
    "plan",
    [
        Plan("prolora", Setting(16, 4, 3, 3), "x"),
        Plan("prolora", Setting(8, 0, 2, 4), "x"),
        Plan("prolora", Setting(8, 1, 7, 7), "x", target_modules=("q_proj", "down_proj")),
        Plan("lora", Setting.lora(8), "x"),
    ],
)
def test_the_model_trains_as_many_parameters_as_the_planner_counts(tiny_base: Path, plan: Plan) -> None:
    model = attach(base.load(tiny_base, "none", 128), plan)
    counted = count(plan.setting, find(str(tiny_base)).shapes, plan.target_modules)
    assert model.num_parameters(only_trainable=True) == counted
