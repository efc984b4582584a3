from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors import safe_open

from prolora.errors import PlanError
from prolora.peft import TiedLoraConfig

IDS = torch.arange(2, 34).reshape(2, 16)
Load = Callable[..., Any]


def config(**changes: Any) -> TiedLoraConfig:
    return TiedLoraConfig(**{"r": 6, "target_modules": ["q_proj", "k_proj", "v_proj"], "init_weights": False} | changes)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def tied(load: Load, **changes: Any) -> PeftModel:
    """A model whose every part differs from its start."""
    torch.manual_seed(1)
    model = get_peft_model(load(), config(**changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "tied_lora_u" in name or "tied_lora_v" in name:
                parameter.normal_()
    return model


def test_a_fresh_adapter_changes_nothing(load: Load) -> None:
    assert torch.equal(logits(get_peft_model(load(), config(init_weights=True))), logits(load()))


def test_what_is_tied_is_stored_once(load: Load, tmp_path: Path) -> None:
    tied(load).save_pretrained(tmp_path, save_embedding_layers=False)
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        parts = [key.rpartition("tied_lora_")[2] for key in file.keys()]  # noqa: SIM118
    assert {part: parts.count(part) for part in "ABuv"} == {"A": 1, "B": 3, "u": 2, "v": 6}


def test_every_part_has_a_gradient(load: Load) -> None:
    model = tied(load)
    model.train()(input_ids=IDS, labels=IDS).loss.backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(trained) == 12
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in trained)


def test_a_saved_adapter_answers_the_same(load: Load, tmp_path: Path) -> None:
    model = tied(load)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    for options in ({}, {"low_cpu_mem_usage": True}):
        loaded = PeftModel.from_pretrained(load(), tmp_path, **options)
        assert torch.equal(logits(loaded), logits(model))
        assert loaded.peft_config["default"].r == 6


def test_merging_and_taking_it_back_answers_the_same(load: Load) -> None:
    model = tied(load)
    answer = logits(model)
    model.merge_adapter(safe_merge=True)
    torch.testing.assert_close(logits(model), answer, atol=1e-3, rtol=1e-3)
    model.unmerge_adapter()
    torch.testing.assert_close(logits(model), answer, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(logits(model.merge_and_unload()), answer, atol=1e-3, rtol=1e-3)


def test_a_disabled_adapter_leaves_the_base(load: Load) -> None:
    model = tied(load)
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(load()))
    assert not torch.equal(logits(model), logits(load()))


def test_adapters_beside_each_other_keep_to_themselves(load: Load) -> None:
    model = tied(load)
    first = logits(model)
    model.add_adapter("other", config(r=3, target_modules=["k_proj", "v_proj"]))
    assert torch.equal(logits(model), first)
    model.set_adapter("other")
    second = logits(model)
    assert not torch.equal(second, first)
    model.delete_adapter("default")
    assert torch.equal(logits(model), second)
    assert not [name for name, _ in model.named_parameters() if ".default" in name]
    model.add_adapter("default", config(r=2))
    model.set_adapter("default")
    assert logits(model).isfinite().all()


def test_modules_of_other_widths_are_refused(load: Load) -> None:
    with pytest.raises(PlanError, match="equal widths"):
        get_peft_model(load(), config(target_modules=["q_proj", "down_proj"]))
