"""Every method on a tiny Llama with grouped queries: what it trains, and that a saved one answers the same."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from prolora.base_models import find
from prolora.methods import at_budget, count
from prolora.plan import MethodName, Plan, Setting
from worker import base
from worker.methods import METHODS
from worker.train import attach, optimizer

NAMES = get_args(MethodName)
SUBSETS = (("q_proj", "k_proj", "v_proj"), ("k_proj", "down_proj"))
IDS = torch.arange(2, 34).reshape(2, 16)


def plan_of(name: MethodName, tiny_base: Path, rho: int, **changes: tuple[str, ...]) -> Plan:
    shapes = find(str(tiny_base)).shapes
    fit = at_budget(name, shapes, rho * shapes.lora_unit(*changes.values()), *changes.values())
    return Plan(name, fit.setting, str(tiny_base), learning_rate=1e-2, target_modules=fit.target_modules)


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def test_every_method_of_a_plan_is_known() -> None:
    assert set(METHODS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_trains_as_many_parameters_as_are_counted(tiny_base: Path, name: MethodName) -> None:
    shapes = find(str(tiny_base)).shapes
    plans = [plan_of(name, tiny_base, rho) for rho in (3, 8)]
    plans += [plan_of(name, tiny_base, 6, target_modules=subset) for subset in SUBSETS]
    for plan in plans:
        model = attach(base.load(tiny_base, "none", 128), plan)
        counted = count(name, plan.setting, shapes, plan.target_modules)
        assert model.num_parameters(only_trainable=True) == counted, plan


@pytest.mark.parametrize(
    "plan",
    [
        Plan("prolora", Setting(8, 0, 2, 4), "x"),
        Plan("prolora", Setting(8, 1, 7, 7), "x", target_modules=("q_proj", "down_proj")),
    ],
)
def test_uneven_sharing_is_counted_too(tiny_base: Path, plan: Plan) -> None:
    model = attach(base.load(tiny_base, "none", 128), plan)
    shapes = find(str(tiny_base)).shapes
    assert model.num_parameters(only_trainable=True) == count(plan.method, plan.setting, shapes, plan.target_modules)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_trains_on_an_nf4_base_and_answers_the_same_when_loaded(
    tiny_base: Path, tmp_path: Path, name: MethodName
) -> None:
    plan = plan_of(name, tiny_base, 4)
    model = attach(base.load(tiny_base, "nf4", 128), plan)
    untrained = logits(model)
    kind, options = optimizer(plan, model)
    steps = kind(options["params"], lr=plan.learning_rate)
    losses = []
    model.train()
    for _ in range(3):
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        steps.step()
        steps.zero_grad()
        losses.append(loss.item())
    assert all(torch.isfinite(torch.tensor(losses)))
    assert losses[-1] < losses[0]
    answer = logits(model)
    assert not torch.equal(answer, untrained)
    model.save_pretrained(str(tmp_path), save_embedding_layers=False)
    loaded = PeftModel.from_pretrained(base.load(tiny_base, "nf4", 128), tmp_path)
    torch.testing.assert_close(logits(loaded), answer)
