"""PRoLoRA with DoRA's magnitudes, against PEFT's own DoRA of the unfolded factors."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import nn

from prolora.export import to_lora
from prolora.peft import ProloraConfig, ProloraLinear
from tests.prolora.conftest import Load

SETTING = {"r": 8, "u": 2, "m": 3, "n": 3, "use_dora": True}
X = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))


def layer_of(bias: bool = True, dtype: torch.dtype = torch.float32, **fields: object) -> ProloraLinear:
    torch.manual_seed(1)
    config = ProloraConfig(**(SETTING | {"init_weights": False} | fields))
    layer = ProloraLinear(nn.Linear(64, 48, bias=bias, dtype=dtype), "default", config)
    with torch.no_grad():
        layer.prolora_magnitude["default"].mul_(torch.linspace(0.5, 2, 48))
    return layer


def test_a_new_adapter_changes_nothing() -> None:
    layer = ProloraLinear(nn.Linear(64, 48), "default", ProloraConfig(**SETTING))
    assert torch.equal(layer(X), layer.base_layer(X))


@pytest.mark.parametrize("bias", [True, False])
def test_each_row_of_the_adapted_weight_has_the_magnitudes_length(bias: bool) -> None:
    layer = layer_of(bias)
    adapted = layer.base_layer.weight + layer.get_delta_weight("default")
    weight = layer.prolora_magnitude["default"][:, None] * adapted / adapted.norm(dim=1, keepdim=True)
    torch.testing.assert_close(layer(X), nn.functional.linear(X, weight, layer.base_layer.bias))


def test_merging_answers_the_same_and_unmerging_gives_the_weight_back() -> None:
    layer = layer_of().eval()
    answer, weight = layer(X), layer.base_layer.weight.detach().clone()
    layer.merge(safe_merge=True)
    torch.testing.assert_close(layer(X), answer)
    layer.unmerge()
    torch.testing.assert_close(layer.base_layer.weight.detach(), weight)


@pytest.mark.parametrize("other", [True, False])
def test_merged_together_two_adapters_answer_as_they_do_beside_each_other(other: bool) -> None:
    layer = layer_of().eval()
    layer.update_layer("other", 6, ProloraConfig(r=6, u=2, m=2, n=2, use_dora=other, init_weights=False))
    layer.set_adapter(["default", "other"])
    answer, weight = layer(X), layer.base_layer.weight.detach().clone()
    for order in (["default", "other"], ["other", "default"]):
        for name in order:
            layer.merge(adapter_names=[name])
        torch.testing.assert_close(layer(X), answer)
        layer.unmerge()
        torch.testing.assert_close(layer.base_layer.weight.detach(), weight)


def test_a_mixed_batch_takes_each_row_by_its_own_adapter() -> None:
    layer = layer_of().eval()
    layer.update_layer("plain", 8, ProloraConfig(**(SETTING | {"use_dora": False, "init_weights": False})))
    mixed = layer(X[:3], adapter_names=["default", "__base__", "plain"])
    torch.testing.assert_close(mixed[1], layer.base_layer(X[1]))
    for row, name in ((0, "default"), (2, "plain")):
        layer.set_adapter(name)
        torch.testing.assert_close(mixed[row], layer(X[row]))


def test_the_norm_is_a_constant_to_the_gradient() -> None:
    layer = layer_of(bias=False)
    layer(X).sum().backward()
    with torch.no_grad():
        gain = layer.prolora_magnitude["default"] / layer._row_norms("default")
    by_hand = [part.detach().clone().requires_grad_() for part in layer._stored("default")]
    plain = ProloraLinear(nn.Linear(64, 48, bias=False), "default", ProloraConfig(**(SETTING | {"use_dora": False})))
    for name, part in zip(layer.adapter_layer_names, by_hand, strict=False):
        getattr(plain, name)["default"] = nn.Parameter(part)
    plain.base_layer.weight.data = layer.base_layer.weight.data
    (gain * plain(X)).sum().backward()
    for name in layer.adapter_layer_names[:4]:
        torch.testing.assert_close(getattr(layer, name)["default"].grad, getattr(plain, name)["default"].grad)
    assert layer.prolora_magnitude["default"].grad.abs().min() > 0


def test_a_whole_model_answers_as_pefts_dora_of_the_unfolded_factors(load: Load, tmp_path: Path) -> None:
    model = get_peft_model(load(), ProloraConfig(**SETTING, init_weights=False, target_modules="all-linear")).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "prolora_magnitude" in name:
                value.mul_(torch.linspace(0.8, 1.2, len(value)))
    model.save_pretrained(tmp_path / "adapter")
    to_lora(tmp_path / "adapter", tmp_path / "lora")
    tokens = torch.tensor([[1, 5, 9, 13]])
    answer = model(tokens).logits
    for folder in ("adapter", "lora"):
        again = PeftModel.from_pretrained(load(), tmp_path / folder).eval()
        torch.testing.assert_close(again(tokens).logits, answer, atol=1e-5, rtol=1e-4)


def test_a_dora_is_no_plain_lora_to_peft() -> None:
    assert not layer_of().supports_lora_conversion()


def test_memory_that_is_not_there_yet_takes_the_magnitudes_when_they_are_loaded(load: Load, tmp_path: Path) -> None:
    model = get_peft_model(load(), ProloraConfig(**SETTING, init_weights=False, target_modules=["q_proj"])).eval()
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(load(), tmp_path, low_cpu_mem_usage=True).eval()
    tokens = torch.tensor([[1, 5, 9, 13]])
    torch.testing.assert_close(again(tokens).logits, model(tokens).logits)
