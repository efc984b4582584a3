from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from prolora.optim import parameter_groups
from prolora.peft import ProloraConfig, TiedLoraConfig
from tests.prolora.conftest import Load

RATIOS = {"b_ratio": 16.0, "unshared_ratio": 0.25}


def rates(model: Any, **ratios: float) -> dict[str, float]:
    """The learning rate of each trainable parameter by name."""
    by_id = {
        id(parameter): group["lr"] for group in parameter_groups(model, 1e-3, **ratios) for parameter in group["params"]
    }
    return {name: by_id[id(value)] for name, value in model.named_parameters() if value.requires_grad}


def prolora(load: Load, **fields: Any) -> Any:
    return get_peft_model(load(), ProloraConfig(r=8, u=2, m=2, n=2, target_modules=["q_proj", "v_proj"], **fields))


def test_without_ratios_all_trains_at_one_rate(load: Load) -> None:
    assert set(rates(prolora(load)).values()) == {1e-3}


def test_each_part_trains_at_its_own_rate(load: Load) -> None:
    expected = {"A_u": 0.25e-3, "A_0": 1e-3, "B_u": 4e-3, "B_0": 16e-3, "scale_u": 0.25e-3, "magnitude": 1e-3}
    found = rates(prolora(load, scale_unshared=True, use_dora=True), **RATIOS)
    for name, rate in found.items():
        assert rate == expected[name.split(".prolora_")[1].split(".")[0]], name
    assert {name.split(".prolora_")[1].split(".")[0] for name in found} == set(expected)


def test_a_lora_takes_the_ratio_of_b_too(load: Load) -> None:
    found = rates(get_peft_model(load(), LoraConfig(r=4, target_modules=["q_proj"])), **RATIOS)
    assert {rate for name, rate in found.items() if ".lora_A." in name} == {1e-3}
    assert {rate for name, rate in found.items() if ".lora_B." in name} == {16e-3}


def test_a_tied_lora_takes_the_ratio_of_b_too(load: Load) -> None:
    found = rates(get_peft_model(load(), TiedLoraConfig(r=4, target_modules=["k_proj", "v_proj"])), **RATIOS)
    assert {rate for name, rate in found.items() if ".tied_lora_B." in name} == {16e-3}
    assert {rate for name, rate in found.items() if ".tied_lora_B." not in name} == {1e-3}


def test_every_trainable_parameter_is_in_one_group_and_no_frozen_one_is(load: Load) -> None:
    model = prolora(load, modules_to_save=["lm_head"])
    grouped = [id(parameter) for group in parameter_groups(model, 1e-3, **RATIOS) for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(value) for value in model.parameters() if value.requires_grad)


def test_an_optimizer_steps_each_group_at_its_rate(load: Load) -> None:
    model = prolora(load, init_weights=False)
    before = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
    optimizer = torch.optim.SGD(parameter_groups(model, 1e-3, **RATIOS))
    model(torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    optimizer.step()
    for name, value in model.named_parameters():
        if name in before:
            rate = rates(model, **RATIOS)[name]
            torch.testing.assert_close(value.detach(), before[name] - rate * value.grad)
