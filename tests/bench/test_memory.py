"""The measured errors of the formula of training's memory are those of the formula as it is."""

import json

import pytest

from bench.memory import CASES, RESULTS, SETTING, shapes_of
from prolora.budget import count
from prolora.memory import Training, estimate

RECORDED = json.loads(RESULTS.read_text())["cases"]


def test_at_least_six_nf4_trainings_were_measured() -> None:
    assert [(each["model"], Training(**each["training"])) for each in RECORDED] == list(CASES)
    assert sum(each["training"]["quantization"] == "nf4" for each in RECORDED) >= 6


@pytest.mark.parametrize("recorded", RECORDED)
def test_the_recorded_error_is_that_of_the_formula(recorded: dict) -> None:
    shapes = shapes_of(recorded["model"])
    total = estimate(shapes, count(SETTING, shapes), SETTING.r, Training(**recorded["training"])).total
    assert recorded["formula"]["total"] == total
    assert recorded["relative_error"] == round(total / recorded["measured_bytes"] - 1, 4)
