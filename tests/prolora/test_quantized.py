"""Training on quantised bases: what goes wrong in silence without a guard, and does not with it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from datasets import Dataset
from peft import PeftModel, get_peft_model
from torch import nn
from transformers import AutoTokenizer, BitsAndBytesConfig
from trl import SFTConfig, SFTTrainer

from prolora.peft import ProloraConfig, ProloraLinear
from prolora.quantized import keep_packing, train_in_float32
from tests.prolora.conftest import Load

NF4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,
)
INT8 = BitsAndBytesConfig(load_in_8bit=True)
TOKENS = torch.arange(20).view(2, 10)


def config(**fields: Any) -> ProloraConfig:
    return ProloraConfig(**{"r": 8, "u": 2, "m": 3, "n": 3, "init_weights": False, "task_type": "CAUSAL_LM"} | fields)


def adapted(load: Load, quantization: BitsAndBytesConfig, **fields: Any) -> PeftModel:
    torch.manual_seed(0)
    return get_peft_model(load(quantization_config=quantization, dtype=torch.bfloat16), config(**fields))


def flags(model: nn.Module) -> list[bool]:
    return [m.support_avx512bf16_for_cpu for m in model.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]


def allow_packing(model: nn.Module) -> None:
    """What bitsandbytes does if nobody forbids it."""
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = has_avx512bf16()


def gradients(model: nn.Module) -> list[torch.Tensor]:
    model.train()
    model(TOKENS, labels=TOKENS).loss.backward()
    return [parameter.grad for parameter in model.parameters() if parameter.requires_grad]


def changed_by_an_evaluation(load: Load, guard: Callable[[nn.Module], None]) -> bool:
    models = [adapted(load, NF4), adapted(load, NF4)]
    for model in models:
        guard(model)
    with torch.no_grad():
        models[1].eval()(TOKENS)
    return any(not torch.equal(*pair) for pair in zip(*map(gradients, models), strict=True))


@pytest.mark.filterwarnings("ignore:bitsandbytes..gemv_4bit:UserWarning")
def test_an_evaluation_changes_no_gradient_on_a_4_bit_base_once_packing_is_kept(load: Load) -> None:
    # Only CPUs with AVX512-BF16 have the kernel for which the weights are packed anew.
    assert changed_by_an_evaluation(load, allow_packing) == has_avx512bf16()
    assert not changed_by_an_evaluation(load, keep_packing)


def test_adding_an_adapter_that_is_to_be_trained_keeps_the_packing(load: Load) -> None:
    assert not any(flags(adapted(load, NF4)))


def test_adding_an_adapter_that_only_answers_leaves_the_faster_packing(load: Load) -> None:
    found = flags(adapted(load, NF4, inference_mode=True))
    assert found
    assert all(flag == has_avx512bf16() for flag in found)


def test_a_base_that_was_evaluated_before_it_had_an_adapter_is_trained_the_same(load: Load) -> None:
    found = []
    for evaluated in (False, True):
        base = load(quantization_config=NF4, dtype=torch.bfloat16)
        if evaluated:
            with torch.no_grad():
                base(TOKENS)
        torch.manual_seed(0)
        found.append(torch.cat([gradient.flatten() for gradient in gradients(get_peft_model(base, config()))]))
    # Taken back, the scales of the blocks are rounded once more.
    assert (found[1] - found[0]).norm() < 0.1 * found[0].norm()


@pytest.mark.filterwarnings("ignore:Merge prolora module:UserWarning")
@pytest.mark.parametrize("use_dora", [False, True], ids=["plain", "dora"])
def test_an_adapter_that_only_answers_answers_and_merges_after_an_evaluation(
    load: Load, tmp_path: Path, use_dora: bool
) -> None:
    trained = adapted(load, NF4, use_dora=use_dora).eval()
    trained.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(load(quantization_config=NF4, dtype=torch.bfloat16), tmp_path)
    for step in (lambda _: None, lambda model: model.merge_adapter()):
        with torch.no_grad():
            for model in (trained, loaded):
                step(model)
            expected, found = (model(TOKENS).logits.float() for model in (trained, loaded))
        assert (found - expected).norm() < 0.2 * expected.norm()


def test_a_small_update_that_bfloat16_rounds_away_counts_in_float32() -> None:
    layer = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    changed = []
    for guard in (lambda _: None, train_in_float32):
        nn.init.ones_(layer.weight)
        guard(layer)
        layer.weight.grad = torch.ones_like(layer.weight)
        torch.optim.SGD(layer.parameters(), lr=5e-5).step()
        changed.append(layer.weight.item() != 1)
        layer.weight.grad = None
    assert changed == [False, True]


def test_what_is_frozen_keeps_its_type() -> None:
    layer = nn.Linear(2, 2, dtype=torch.bfloat16)
    layer.weight.requires_grad_(False)
    train_in_float32(layer)
    assert (layer.weight.dtype, layer.bias.dtype) == (torch.bfloat16, torch.float32)


def sft_trainer(load: Load, base: Path, folder: Path, quantization: BitsAndBytesConfig | None) -> SFTTrainer:
    return SFTTrainer(
        load(quantization_config=quantization, dtype=torch.bfloat16),
        args=SFTConfig(
            output_dir=str(folder),
            max_steps=2,
            per_device_train_batch_size=2,
            learning_rate=5e-5,
            max_length=32,
            bf16=True,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
        ),
        train_dataset=Dataset.from_dict({"prompt": ["hello"] * 4, "completion": [" world"] * 4}),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=config(init_weights=True),
    )


@pytest.mark.parametrize("quantization", [None, NF4, INT8], ids=["bfloat16", "nf4", "int8"])
def test_trls_trainer_trains_in_float32_after_the_guard(
    load: Load, tiny_base: Path, tmp_path: Path, quantization: BitsAndBytesConfig | None
) -> None:
    trainer = sft_trainer(load, tiny_base, tmp_path, quantization)
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    assert {p.dtype for p in trained} == {torch.bfloat16 if quantization else torch.float32}  # TRL's cast
    train_in_float32(trainer.model)
    before = [parameter.detach().clone() for parameter in trained]
    trainer.train()
    assert {parameter.dtype for parameter in trained} == {torch.float32}
    assert all(not torch.equal(*pair) for pair in zip(trained, before, strict=True))


@pytest.mark.parametrize("use_dora", [False, True], ids=["plain", "dora"])
@pytest.mark.parametrize(
    ("quantization", "kind"), [(NF4, bitsandbytes.nn.Linear4bit), (INT8, bitsandbytes.nn.Linear8bitLt)]
)
def test_a_quantised_base_trains_and_merges(
    load: Load, quantization: BitsAndBytesConfig, kind: type[nn.Module], use_dora: bool
) -> None:
    model = adapted(load, quantization, use_dora=use_dora)
    layers = [module for module in model.modules() if isinstance(module, ProloraLinear)]
    assert {type(layer.base_layer) for layer in layers} == {kind}
    assert all(gradient.abs().sum() > 0 for gradient in gradients(model))
    layer = layers[0]
    layer.prolora_B_0["default"].data.mul_(4)  # against the rounding, which merging does once more
    update, before = layer.get_delta_weight("default"), layer.get_base_weight()
    if use_dora:
        update = layer._gain("default")[:, None] * (before + update) - before
    model.merge_adapter()
    found = (layer.get_base_weight() - before).flatten().float()
    assert torch.corrcoef(torch.stack([found, update.flatten().float()]))[0, 1] > 0.9


def test_nothing_is_asked_of_a_hub_by_importing_and_training(tiny_base: Path) -> None:
    code = f"""
import importlib.util, socket

def refuse(*address, **_):
    raise AssertionError(f"asked the network for {{address}}")

socket.getaddrinfo = socket.socket.connect = socket.create_connection = refuse
import bitsandbytes, torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from prolora.peft import ProloraConfig
base = AutoModelForCausalLM.from_pretrained(
    {str(tiny_base)!r}, quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
)
model = get_peft_model(base, ProloraConfig(r=8, u=2, m=3, n=3)).train()
tokens = torch.arange(10)[None]
model(tokens, labels=tokens).loss.backward()
# With this package bitsandbytes fetches a kernel when it is imported.
assert importlib.util.find_spec("kernels") is None
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"HF_HUB_DISABLE_TELEMETRY": "1"})
