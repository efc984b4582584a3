import copy
import shutil
from pathlib import Path

import bitsandbytes as bnb
import pytest
import torch
from peft import PeftModel
from torch import nn

from prolora.base_models import BaseModel, find
from prolora.errors import BaseModelError
from prolora.plan import Plan
from tests.worker.conftest import LORA, PROLORA
from worker import base, base_files
from worker.train import attach


def plan(**changes: object) -> Plan:
    return Plan(**{"method": "prolora", "setting": PROLORA, "base_model": "x"} | changes)


def trained_layer(model: PeftModel) -> nn.Module:
    return model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")


@pytest.mark.parametrize(("quantization", "kind"), [("nf4", bnb.nn.Linear4bit), ("none", nn.Linear)])
@pytest.mark.parametrize(("method", "setting"), [("prolora", PROLORA), ("lora", LORA)])
def test_the_trained_layers_stand_on_the_base_that_was_asked_for(
    tiny_base: Path, quantization: str, kind: type, method: str, setting: object
) -> None:
    wanted = plan(method=method, setting=setting, quantization=quantization)
    layer = trained_layer(attach(base.load(tiny_base, wanted.quantization, 128), wanted))
    assert type(layer.base_layer) is kind


def test_the_adapter_is_float32_and_nothing_else_is_trained(tiny_base: Path) -> None:
    model = attach(base.load(tiny_base, "nf4", 128), plan())
    trained = {name: p.dtype for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("prolora_" in name and dtype == torch.float32 for name, dtype in trained.items())


def test_nf4_weights_stay_as_they_are_after_an_evaluation(tiny_base: Path) -> None:
    model = base.load(tiny_base, "nf4", 128)
    before = {name: copy.deepcopy(p.data) for name, p in model.named_parameters()}
    layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert layers
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)
    with torch.inference_mode():
        model.eval()(torch.tensor([[1, 2, 3]]))
    assert all(torch.equal(p.data, before[name]) for name, p in model.named_parameters())
    assert not any(getattr(layer.weight.quant_state, "packing_format_for_cpu", False) for layer in layers)


def test_a_folder_without_weights_is_refused_with_a_sentence(tiny_base: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((tiny_base / name).read_bytes())
    known = find(str(tiny_base))
    bare = BaseModel("bare", "Bare", str(tmp_path), known.shapes, known.defaults, local=True)
    with pytest.raises(BaseModelError, match="has no weights"):
        base_files.folder(bare)


def test_a_model_of_the_hub_that_was_never_fetched_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BaseModelError, match="LLaMA-2 7B is not on this machine"):
        base_files.folder(find("llama-2-7b"))


def test_a_model_that_was_fetched_from_the_hub_is_found_again(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "models--meta-llama--Llama-2-7b-hf"
    snapshot = repository / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(tiny_base, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = base_files.folder(find("llama-2-7b"))
    assert folder == snapshot
    assert base.load(folder, "nf4", 128).config.vocab_size
