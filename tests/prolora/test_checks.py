from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from prolora.checks import WeightsError
from prolora.peft import ProloraConfig
from tests.prolora.conftest import Load

KEY = "base_model.model.model.layers.0.self_attn.q_proj.prolora_A_0"
TOKENS = torch.arange(10)[None]
Tensors = dict[str, torch.Tensor]


def renamed(tensors: Tensors) -> None:
    tensors[KEY.replace("q_proj", "z_proj")] = tensors[KEY].clone()


def renamed_all(tensors: Tensors) -> None:
    for key in list(tensors):
        tensors[key.replace("_proj", "z_proj")] = tensors.pop(key)


def of_another_method(tensors: Tensors) -> None:
    for key in list(tensors):
        tensors[key.replace("prolora_", "lora_") + ".weight"] = tensors.pop(key)


def of_two_methods(tensors: Tensors) -> None:
    tensors[KEY.replace("prolora_A_0", "lora_A.weight")] = tensors[KEY].clone()


def with_nan(tensors: Tensors) -> None:
    tensors[KEY][0, 0] = torch.nan


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda tensors: tensors.pop(KEY), "The weights lack .*q_proj.prolora_A_0"),
        (renamed_all, "The weights have .*z_proj"),
        (renamed, "The weights have .*z_proj.prolora_A_0"),
        (lambda tensors: tensors.update({KEY: tensors[KEY][:, 1:].clone()}), r"q_proj.prolora_A_0.* has the shape"),
        (with_nan, "q_proj.prolora_A_0.* not finite"),
        (of_two_methods, "The weights have .*q_proj.lora_A.weight, which"),
        (of_another_method, "The weights have no tensor of a PRoLoRA, but .*lora_A_0"),
        (lambda tensors: tensors.clear(), "The weights have no tensor of a PRoLoRA, but none"),
    ],
)
def test_spoilt_weights_are_refused_before_anything_is_loaded(
    load: Load, tmp_path: Path, spoil: Callable[[Tensors], Any], words: str, low_cpu_mem_usage: bool
) -> None:
    config = ProloraConfig(r=8, u=1, m=3, n=3, init_weights=False)
    get_peft_model(load(), config).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    spoil(tensors)
    save_file(tensors, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    model = get_peft_model(load(), config)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    base = load()
    with pytest.raises(WeightsError, match=words):
        PeftModel.from_pretrained(base, tmp_path, low_cpu_mem_usage=low_cpu_mem_usage)
    assert base.state_dict().keys() == load().state_dict().keys()
    with pytest.raises(WeightsError, match=words):
        model.load_adapter(tmp_path, "other", low_cpu_mem_usage=low_cpu_mem_usage)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert set(model.peft_config) == {"default"}
    assert model.active_adapters == ["default"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda head: head[:, 1:].clone(), r"lm_head.* has the shape \(258, 127\)"),
        (lambda head: head / 0, "lm_head.* not finite"),
    ],
)
def test_a_spoilt_module_that_is_saved_whole_is_refused_before_anything_is_loaded(
    load: Load, tmp_path: Path, spoil: Callable[[torch.Tensor], torch.Tensor], words: str
) -> None:
    get_peft_model(load(), ProloraConfig(r=8, u=1, m=3, n=3, modules_to_save=["lm_head"])).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    tensors["base_model.model.lm_head.weight"] = spoil(tensors["base_model.model.lm_head.weight"])
    save_file(tensors, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    base = load()
    with pytest.raises(WeightsError, match=words):
        PeftModel.from_pretrained(base, tmp_path)
    assert base.state_dict().keys() == load().state_dict().keys()


def test_weights_that_are_refused_leave_an_adapter_whose_settings_alone_were_read_from_a_folder(
    load: Load, tmp_path: Path
) -> None:
    get_peft_model(load(), ProloraConfig(r=8, u=1, m=3, n=3)).save_pretrained(tmp_path)
    model = get_peft_model(load(), ProloraConfig.from_pretrained(tmp_path))
    before = model.state_dict().keys()
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    save_file(tensors | {KEY: tensors[KEY] / 0}, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError):
        model.load_adapter(tmp_path, "other")
    assert model.state_dict().keys() == before


def test_weights_that_are_refused_leave_the_adapter_that_was_to_take_them(load: Load, tmp_path: Path) -> None:
    model = get_peft_model(load(), ProloraConfig(r=8, u=1, m=3, n=3, init_weights=False))
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(load(), tmp_path)
    for trained in (model, again):
        weights = {key.replace("q_proj", "z_proj"): value for key, value in get_peft_model_state_dict(model).items()}
        with pytest.raises(WeightsError):
            set_peft_model_state_dict(trained, weights)
        assert torch.equal(trained(TOKENS).logits, model(TOKENS).logits)


def test_an_adapter_of_a_base_of_other_widths_is_refused_by_the_module(load: Load, tmp_path: Path) -> None:
    model = get_peft_model(load(), ProloraConfig(r=8, u=1, m=3, n=3, target_modules=["q_proj"]))
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    wider = {key: torch.zeros([2 * size for size in tensor.shape]) for key, tensor in tensors.items()}
    save_file(wider, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="this base model and configuration ask for"):
        PeftModel.from_pretrained(load(), tmp_path)


def test_a_whole_adapter_loads_as_it_was(load: Load, tmp_path: Path) -> None:
    model = get_peft_model(load(), ProloraConfig(r=8, u=1, m=3, n=3, init_weights=False))
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(load(), tmp_path, low_cpu_mem_usage=True)
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    with torch.no_grad():
        # In new memory: a file's tensors begin anywhere in theirs, and kernels round by where a tensor begins.
        assert torch.equal(again.double()(TOKENS).logits, model.double()(TOKENS).logits)
