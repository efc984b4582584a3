"""The formula is compared with what autograd saves, and what bitsandbytes stores, of real models."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from bench import step
from prolora.base_models import Linear, Shapes, find
from prolora.base_models.architectures import ARCHITECTURES, Config, llama
from prolora.errors import PlanError
from prolora.memory import Memory, Training, estimate, weights
from prolora.methods import count
from prolora.peft import ProloraConfig
from prolora.plan import PROJECTIONS, TIED, MethodName, Plan, Setting
from worker import base
from worker.methods import METHODS

FIELDS = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 100,
}
SHAPES = llama(Config(FIELDS, "config.json"))
SEVEN = find("llama-2-7b").shapes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(LlamaConfig(**FIELDS, dtype="bfloat16")).save_pretrained(path)
    return path


def adapted(folder: Path, training: Training, targets: tuple[str, ...]) -> PeftModel:
    quantized = base.NF4 if training.quantization == "nf4" else None
    frozen: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=base.DTYPE, quantization_config=quantized, attn_implementation=training.attention
    )
    if training.checkpointing:
        frozen.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        frozen.enable_input_require_grads()
    config = ProloraConfig(r=32, u=4, m=7, n=7, lora_dropout=training.dropout, target_modules=list(targets))
    return get_peft_model(frozen, config).train()


def saved_bytes(model: PeftModel, training: Training) -> int:
    """Bytes that the forward pass leaves behind, the model's own parameters apart, each storage once."""
    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    storages: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        if tensor.untyped_storage().data_ptr() not in own:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.randint(FIELDS["vocab_size"], (training.batch, training.length))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        loss = model(ids, labels=ids, use_cache=False).loss
    assert loss.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize(
    ("training", "targets"),
    [
        (Training(2, 96), PROJECTIONS),
        (Training(2, 96, attention="eager"), PROJECTIONS),
        (Training(3, 64, dropout=0.0), PROJECTIONS),
        (Training(2, 96, quantization="none"), PROJECTIONS),
        (Training(2, 96), ("q_proj", "v_proj")),
        (Training(2, 96), ("k_proj", "o_proj", "up_proj", "down_proj")),
    ],
)
def test_the_activations_are_those_that_autograd_saves(
    folder: Path, training: Training, targets: tuple[str, ...]
) -> None:
    saved = saved_bytes(adapted(folder, training, targets), training)
    log_probabilities = 4 * training.tokens * FIELDS["vocab_size"]  # the formula counts them with the logits
    counted = estimate(SHAPES, 1, 32, training, targets).activations + log_probabilities
    assert counted == pytest.approx(saved, rel=0.01)  # a few numbers a token, and rotary tables, are left out


@pytest.mark.parametrize(
    "kind", ["mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo2", "olmo3", "granite", "smollm3"]
)
def test_so_are_those_of_other_architectures_with_their_own_norms(kind: str) -> None:
    # So many layers that what is saved once, such as OLMo's first sum in float32, is little beside them.
    fields = FIELDS | {"head_dim": 32, "pad_token_id": 0, "num_hidden_layers": 12}
    frozen: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields), dtype=base.DTYPE)
    training, shapes = Training(2, 96, "none"), ARCHITECTURES[type(frozen).__name__](Config(fields, "config.json"))
    config = ProloraConfig(r=32, u=4, m=7, n=7, lora_dropout=training.dropout, target_modules=list(PROJECTIONS))
    saved = saved_bytes(get_peft_model(frozen, config).train(), training)
    counted = estimate(shapes, 1, 32, training).activations + 4 * training.tokens * FIELDS["vocab_size"]
    assert counted == pytest.approx(saved, rel=0.01)


@pytest.mark.parametrize("dropout", [0.1, 0.0])
@pytest.mark.parametrize("method", ["lora", "rslora", "dora", "hira", "gralora", "vera", "tied-lora", "prolora-dora"])
def test_so_are_those_of_other_methods_whose_layers_keep_more(folder: Path, method: MethodName, dropout: float) -> None:
    setting = Setting(32, 4, 7, 7) if method == "prolora-dora" else Setting.lora(32)
    plan = Plan(method, setting, "demo", dropout=dropout, target_modules=TIED if method == "tied-lora" else PROJECTIONS)
    frozen: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=base.DTYPE, quantization_config=base.NF4)
    frozen.enable_input_require_grads()  # as every layer but the first
    training = Training(2, 256, dropout=dropout, method=method, device="cpu")
    saved = saved_bytes(get_peft_model(frozen, METHODS[method](plan)).train(), training)
    counted = estimate(SHAPES, 1, 32, training, plan.target_modules).activations
    last_norm = (4 * FIELDS["hidden_size"] + 4) * training.tokens
    log_probabilities = 4 * training.tokens * FIELDS["vocab_size"]
    assert counted + last_norm + log_probabilities == pytest.approx(saved, rel=0.03)


def test_checkpointing_keeps_the_input_of_each_layer_alone(folder: Path) -> None:
    training = Training(2, 96, checkpointing=True)
    saved = saved_bytes(adapted(folder, training, PROJECTIONS), training)
    last_norm = (4 * FIELDS["hidden_size"] + 4) * training.tokens
    log_probabilities = 4 * training.tokens * FIELDS["vocab_size"]
    counted = estimate(SHAPES, 1, 32, training).activations
    assert counted == 2 * FIELDS["hidden_size"] * training.tokens * FIELDS["num_hidden_layers"]
    assert counted + last_norm + log_probabilities == pytest.approx(saved, rel=0.01)


def test_the_weights_are_those_that_bitsandbytes_stores(folder: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=base.DTYPE, quantization_config=base.NF4)
    stored = 0
    for parameter in model.parameters():
        stored += parameter.nbytes
        if state := getattr(parameter, "quant_state", None):
            nested = state.state2
            stored += sum(t.nbytes for t in (state.absmax, state.code, state.offset, nested.absmax, nested.code))
    assert weights(SHAPES, "nf4") == stored


def test_weights_without_quantisation_take_two_bytes_each() -> None:
    assert weights(SEVEN, "none") == 2 * 6_738_415_616


def test_the_adapter_takes_sixteen_bytes_a_parameter_with_gradients_and_optimizer() -> None:
    memory = estimate(SEVEN, 1000, 32, Training(1, 16))
    assert (memory.adapter, memory.gradients, memory.optimizer) == (4000, 4000, 8000)


def test_the_total_counts_the_larger_of_the_turn_and_a_layers_backward_pass() -> None:
    assert Memory(1, 2, 3, 4, 5, logits=60, working=7).total == 75
    assert Memory(1, 2, 3, 4, 5, logits=6, working=70).total == 85


def test_more_tokens_take_more_and_checkpointing_takes_less() -> None:
    totals = [
        estimate(SEVEN, 10**6, 32, training).total
        for training in (Training(16, 512, checkpointing=True), Training(16, 512), Training(16, 1024))
    ]
    assert totals == sorted(totals)


@pytest.mark.parametrize("wrong", [{"batch": 0, "length": 512}, {"batch": 4, "length": -1}])
def test_a_batch_or_a_length_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(PlanError, match="must be at least 1"):
        Training(**wrong)


def test_layers_that_the_formula_does_not_know_are_refused() -> None:
    for shapes in (find("phi-3-mini").shapes, Shapes(2, 8, (Linear("q_proj", 8, 8, count=1),), 100)):
        with pytest.raises(PlanError, match="seven projections"):
            estimate(shapes, 1, 1, Training(1, 16))


@pytest.mark.parametrize(
    ("name", "method", "setting"),
    [
        ("PRoLoRA (32, 4, 7, 7)", "prolora", Setting(32, 4, 7, 7)),
        ("LoRA r=32", "lora", Setting.lora(32)),
        ("LoRA r=8", "lora", Setting.lora(8)),
    ],
)
def test_the_formula_is_near_the_peaks_that_the_benchmark_of_steps_has_measured(
    name: str, method: MethodName, setting: Setting
) -> None:
    measured = json.loads(step.RESULTS.read_text())["peak_bytes"][name]
    shapes = llama(Config(step.SHAPE | {"num_key_value_heads": 8, "vocab_size": step.VOCABULARY}, "config.json"))
    training = Training(step.BATCH, step.LENGTH, dropout=step.DROPOUT, method=method, device="cpu")
    counted = estimate(shapes, count(method, setting, shapes), setting.r, training).total
    assert counted == pytest.approx(measured, rel=0.07)
