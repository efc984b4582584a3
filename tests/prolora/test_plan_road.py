"""The fields of a plan that say how its batches are computed and when it ends."""

from typing import Any

import pytest

from prolora.errors import PlanError
from prolora.plan import Plan, Setting

NEW = (
    *("accumulation", "packing", "group_by_length", "gradient_checkpointing"),
    *("validation_share", "evaluate_every", "patience"),
)


def plan(**changes: Any) -> Plan:
    return Plan("lora", Setting.lora(8), "demo", **changes)


def test_a_plan_written_before_these_fields_reads_as_it_ran() -> None:
    old = {name: value for name, value in plan().to_json().items() if name not in NEW}
    assert Plan.from_json(old) == plan()
    assert plan().group_by_length
    assert not plan().packing


def test_a_plan_comes_back_from_json() -> None:
    full = plan(accumulation=4, packing=True, gradient_checkpointing=True, validation_share=0.1, patience=3)
    assert Plan.from_json(full.to_json()) == full


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accumulation": 0}, "cannot be computed in 0 passes"),
        ({"accumulation": 3}, "cannot be computed in 3 passes"),
        ({"accumulation": True}, "accumulation must be a whole number"),
        ({"packing": 1}, "Packing must be on or off"),
        ({"gradient_checkpointing": "yes"}, "Gradient checkpointing must be on or off"),
        ({"validation_share": 0.6}, "between 0 and 0.5"),
        ({"validation_share": float("nan")}, "between 0 and 0.5"),
        ({"patience": 2}, "give a validation share above 0"),
        ({"patience": -1}, "patience must be 0 or more"),
        ({"evaluate_every": -1}, "evaluate every must be 0 or more"),
    ],
)
def test_a_plan_that_cannot_run_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        plan(**changes)
