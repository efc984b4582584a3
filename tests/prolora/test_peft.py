"""The method as any user of PEFT meets it, on a tiny Llama."""

import json
import subprocess
import sys
from collections import OrderedDict
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration
from transformers.pytorch_utils import Conv1D

from prolora.base_models import find
from prolora.budget import count
from prolora.checks import LayerError
from prolora.peft import ProloraConfig, ProloraLinear
from tests.prolora.conftest import Load

TOKENS = torch.arange(20).view(2, 10)


def config(**fields: Any) -> ProloraConfig:
    return ProloraConfig(**{"r": 8, "u": 1, "m": 7, "n": 7, "init_weights": False, "task_type": "CAUSAL_LM"} | fields)


def logits(model: Any, **options: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(TOKENS, **options).logits
    return found


def stored_bytes(file: Path) -> tuple[int, int]:
    """Size of a safetensors file, and of what precedes its numbers."""
    return file.stat().st_size, 8 + int.from_bytes(file.read_bytes()[:8], "little")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_file_holds_the_parameters_and_nothing_else(load: Load, tmp_path: Path, dtype: torch.dtype) -> None:
    model = get_peft_model(load(dtype=dtype), config(), autocast_adapter_dtype=False)
    model.save_pretrained(tmp_path)
    size, header = stored_bytes(tmp_path / "adapter_model.safetensors")
    parameters, _ = model.get_nb_trainable_parameters()
    assert size == header + parameters * dtype.itemsize


@pytest.mark.parametrize("setting", [(8, 1, 7, 7), (8, 0, 4, 4), (4, 4, 1, 1), (9, 1, 8, 8)])
def test_the_trained_parameters_are_those_the_planner_counts(
    load: Load, tiny_base: Path, setting: tuple[int, int, int, int]
) -> None:
    chosen = config(**dict(zip("rumn", setting, strict=True)))
    trained, _ = get_peft_model(load(), chosen).get_nb_trainable_parameters()
    assert trained == count(chosen.setting, find(str(tiny_base)).shapes)


def test_a_saved_adapter_loads_as_it_was(load: Load, tmp_path: Path) -> None:
    model = get_peft_model(load(), config(use_rslora=True, lora_alpha=4))
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(load(), tmp_path)
    assert torch.equal(logits(again), logits(model))
    assert again.peft_config["default"].setting == model.peft_config["default"].setting
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_the_auto_class_finds_base_and_method(load: Load, tmp_path: Path) -> None:
    model = get_peft_model(load(), config())
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoPeftModelForCausalLM.from_pretrained(tmp_path)), logits(model))


def test_equal_adapters_are_equal_files(load: Load, tmp_path: Path) -> None:
    model = get_peft_model(load(), config())
    for name in "ab":
        model.save_pretrained(tmp_path / name)
    saved = [(tmp_path / name / "adapter_config.json").read_text() for name in "ab"]
    assert saved[0] == saved[1]
    modules = json.loads(saved[0])["target_modules"]
    assert modules == sorted(modules)  # not in the order of a set, which differs between processes


def test_a_fresh_adapter_leaves_the_model_as_it_is(load: Load) -> None:
    assert torch.equal(logits(get_peft_model(load(), config(init_weights=True))), logits(load()))


def test_disabled_the_base_answers(load: Load) -> None:
    model = get_peft_model(load(), config())
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(load()))
    assert not torch.equal(logits(model), logits(load()))


def test_several_adapters_live_beside_each_other(load: Load, tmp_path: Path) -> None:
    settings = {"one": config(), "two": config(r=6, u=0, m=3, n=2), "three": config(r=4, u=4, m=1, n=1)}
    alone = {}
    for name, chosen in settings.items():
        model = get_peft_model(load(), chosen)
        model.save_pretrained(tmp_path / name)
        alone[name] = logits(model)
    model = PeftModel.from_pretrained(load(), tmp_path / "one", adapter_name="one")
    for name in ("two", "three"):
        model.load_adapter(tmp_path / name, adapter_name=name)
    for name, expected in alone.items():
        model.set_adapter(name)
        assert torch.equal(logits(model), expected)
    model.set_adapter("one")
    model.delete_adapter("three")
    assert set(model.peft_config) == {"one", "two"}


def test_one_batch_mixes_adapters_and_base(load: Load) -> None:
    model = get_peft_model(load(), config(), adapter_name="one")
    model.add_adapter("two", config(r=6, u=2, m=2, n=2))
    model.eval()
    mixed = logits(model, adapter_names=["two", "__base__"])
    model.set_adapter("two")
    torch.testing.assert_close(mixed[0], logits(model)[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mixed[1], logits(load())[1], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="three"):
        model(TOKENS, adapter_names=["three", "two"])


def test_beams_of_a_mixed_batch_stay_with_their_adapters(load: Load) -> None:
    model = get_peft_model(load(), config(), adapter_name="one")
    model.add_adapter("two", config(r=6, u=2, m=2, n=2))
    options = {"max_new_tokens": 4, "num_beams": 2, "do_sample": False, "attention_mask": torch.ones_like(TOKENS)}
    mixed = model.eval().generate(input_ids=TOKENS, adapter_names=["two", "one"], **options)
    for row, name in enumerate(["two", "one"]):
        model.set_adapter(name)
        assert torch.equal(mixed[row], model.generate(input_ids=TOKENS, **options)[row])


def test_an_encoder_that_beams_do_not_repeat_takes_the_names_as_they_are() -> None:
    torch.manual_seed(0)
    shape = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    base = T5ForConditionalGeneration(T5Config(**shape, decoder_start_token_id=0))
    chosen = config(r=6, u=2, m=2, n=2, task_type="SEQ_2_SEQ_LM", target_modules=["q", "wi"])
    model = get_peft_model(base, chosen, adapter_name="one").eval()
    model.add_adapter("two", chosen)
    options = {"max_new_tokens": 4, "num_beams": 2, "do_sample": False}
    mixed = model.generate(input_ids=TOKENS, adapter_names=["two", "one"], **options)
    for row, name in enumerate(["two", "one"]):
        model.set_adapter(name)
        assert torch.equal(mixed[row], model.generate(input_ids=TOKENS, **options)[row])


def test_one_batch_mixes_the_modules_that_adapters_save_whole(load: Load) -> None:
    model = get_peft_model(load(), config(modules_to_save=["lm_head"]), adapter_name="one")
    model.add_adapter("two", config(modules_to_save=["lm_head"]))
    with torch.no_grad():
        model.base_model.model.lm_head.modules_to_save["two"].weight.mul_(2)
    mixed = logits(model.eval(), adapter_names=["two", "__base__"])
    torch.testing.assert_close(mixed[1], logits(load())[1], rtol=1e-4, atol=1e-4)
    model.set_adapter("two")
    torch.testing.assert_close(mixed[0], logits(model)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"target_modules": "all-linear"}, 14),  # seven in each of two layers, and not the head
        ({"target_modules": "all-linear", "exclude_modules": ["down_proj"]}, 12),
        ({"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]}, 2),
        ({"target_modules": r".*\.0\.mlp\.\w+_proj"}, 3),
    ],
    ids=str,
)
def test_the_modules_are_chosen_as_for_any_method(load: Load, fields: dict[str, Any], expected: int) -> None:
    model = get_peft_model(load(), config(**fields))
    assert sum(isinstance(module, ProloraLinear) for module in model.modules()) == expected


def test_modules_to_save_are_trained_and_saved_whole(load: Load, tmp_path: Path) -> None:
    model = get_peft_model(load(), config(target_modules=["q_proj"], modules_to_save=["lm_head"]))
    with torch.no_grad():
        model.base_model.model.lm_head.weight.mul_(2)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(PeftModel.from_pretrained(load(), tmp_path)), logits(model))
    assert any(key.endswith("lm_head.weight") for key in load_file(tmp_path / "adapter_model.safetensors"))


def test_biases_train_and_are_saved_and_stay_when_the_adapter_is_disabled(tmp_path: Path) -> None:
    base = nn.Sequential(OrderedDict(first=nn.Linear(8, 8), second=nn.Linear(8, 8)))
    model = get_peft_model(
        deepcopy(base), config(task_type=None, m=2, n=2, target_modules=["first"], bias="prolora_only")
    )
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert [name for name in trained if "bias" in name] == ["base_model.model.first.base_layer.bias"]
    with torch.no_grad():
        trained["base_model.model.first.base_layer.bias"].add_(1)
    model.save_pretrained(tmp_path)
    x = torch.ones(1, 8)
    assert torch.equal(PeftModel.from_pretrained(deepcopy(base), tmp_path)(x), model(x))
    with pytest.warns(UserWarning, match="bias"), model.disable_adapter():
        assert not torch.equal(model(x), base(x))


def test_merged_it_answers_the_same_and_unmerged_it_is_the_base_again(load: Load) -> None:
    model = get_peft_model(load(), config())
    expected = logits(model)
    model.merge_adapter(safe_merge=True)
    torch.testing.assert_close(logits(model), expected, rtol=1e-3, atol=1e-3)
    model.unmerge_adapter()
    torch.testing.assert_close(logits(model), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(logits(model.merge_and_unload()), expected, rtol=1e-3, atol=1e-3)


def test_an_adapter_that_is_not_a_number_is_not_merged(load: Load) -> None:
    model = get_peft_model(load(), config())
    next(p for name, p in model.named_parameters() if "prolora_B_0" in name).data.fill_(torch.nan)
    with pytest.raises(ValueError, match="broken"):
        model.merge_adapter(safe_merge=True)


def test_it_trains_with_gradient_checkpointing(load: Load) -> None:
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(1)
        model = get_peft_model(load(), config()).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model(TOKENS, labels=TOKENS).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        torch.testing.assert_close(gradients[1][name], gradient)


def test_training_lowers_the_loss_and_leaves_the_base(load: Load) -> None:
    model = get_peft_model(load(), config(init_weights=True)).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(8):
        loss = model(TOKENS, labels=TOKENS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    with model.disable_adapter():
        assert torch.equal(logits(model.eval()), logits(load()))


def test_conversion_to_lora_by_pefts_own_road_is_offered(load: Load) -> None:
    model = get_peft_model(load(), config())
    assert model.supports_lora_conversion()


@pytest.mark.parametrize("module", [Conv1D(4, 4), nn.Conv2d(4, 4, 1), nn.Embedding(4, 4), nn.MultiheadAttention(4, 2)])
def test_a_module_that_cannot_be_adapted_is_named_before_any_layer_is_replaced(module: nn.Module) -> None:
    base = nn.Sequential(OrderedDict(first=nn.Linear(4, 4), block=nn.Sequential(OrderedDict(odd=module))))
    before = [type(layer) for layer in base.modules()]
    with pytest.raises(LayerError, match=r"^block\.odd.* is a .*exclude_modules"):
        get_peft_model(base, config(task_type=None, target_modules=r"first|block\.odd.*"))
    assert [type(layer) for layer in base.modules()] == before


def test_all_linear_with_a_layer_that_only_looks_linear_is_refused_before_any_is_replaced() -> None:
    base = nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(4, 2))
    with pytest.raises(LayerError, match=r"1\.out_proj"):
        get_peft_model(base, config(task_type=None, target_modules="all-linear"))
    assert type(base[0]) is nn.Linear


def test_importing_twice_registers_once() -> None:
    code = (
        "import importlib, prolora.peft; importlib.reload(prolora.peft); from peft import PeftType; PeftType('PROLORA')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
