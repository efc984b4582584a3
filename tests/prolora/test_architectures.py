"""The shapes read from a config.json are compared with the model that transformers builds of it, without weights."""

from collections import Counter
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from prolora.base_models import Shapes
from prolora.base_models.architectures import ARCHITECTURES, Config
from prolora.budget import count
from prolora.errors import BaseModelError
from prolora.peft import ProloraConfig
from prolora.plan import MODULES, Setting

TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "pad_token_id": 0,
}
GROUPED = TINY | {"num_key_value_heads": 2, "head_dim": 24}
BIASED = {"attention_bias": True, "mlp_bias": True}
MOE = GROUPED | {"moe_intermediate_size": 40, "num_experts": 4, "num_experts_per_tok": 2}
NARROW_SHARED = {"shared_expert_intermediate_size": 56}
SOME_DENSE = {"decoder_sparse_step": 2, "mlp_only_layers": [1]}
# A fused output of one number, which tells how much of the shared expert is taken: there is nothing to share in it.
NOT_ADAPTED = ("lm_head", "shared_expert_gate")


def wide(hidden: int, inner: int, layers: int, heads: int, key_values: int, **other: Any) -> dict[str, Any]:
    fields = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    widths = (hidden, inner, layers, heads, key_values)
    return dict(zip(fields, widths, strict=True)) | {"vocab_size": 32000, "pad_token_id": 0} | other


CASES: list[tuple[str, dict[str, Any]]] = [
    ("llama", GROUPED),
    ("llama", TINY | BIASED),
    ("llama", wide(4096, 14336, 32, 32, 8)),
    ("mistral", GROUPED | BIASED),
    ("mistral", wide(4096, 14336, 32, 32, 8)),
    ("qwen2", TINY | {"num_key_value_heads": 2}),
    ("qwen2", wide(3584, 18944, 28, 28, 4)),
    ("qwen3", GROUPED | BIASED),
    ("qwen3", wide(2560, 9728, 36, 32, 8, head_dim=128, tie_word_embeddings=True)),
    ("gemma", GROUPED),
    ("gemma", wide(2048, 16384, 18, 8, 1)),
    ("gemma2", GROUPED | BIASED),
    ("gemma2", wide(2304, 9216, 26, 8, 4)),
    ("gemma3_text", GROUPED | BIASED),
    ("gemma3_text", wide(1152, 6912, 26, 4, 1)),
    ("phi", GROUPED),
    ("phi", TINY | {"qk_layernorm": True}),
    ("phi", wide(2560, 10240, 32, 32, 32)),
    ("phi3", GROUPED),
    ("phi3", wide(3072, 8192, 32, 32, 32)),
    ("gpt_neox", TINY),
    ("gpt_neox", TINY | {"attention_bias": False}),
    ("gpt_neox", wide(4096, 16384, 32, 32, 32)),
    ("mixtral", GROUPED | {"num_local_experts": 4}),
    ("mixtral", wide(4096, 14336, 32, 32, 8)),
    ("qwen2_moe", MOE | NARROW_SHARED),
    ("qwen2_moe", MOE | NARROW_SHARED | SOME_DENSE | {"qkv_bias": False}),
    ("qwen2_moe", wide(2048, 5632, 24, 16, 16, moe_intermediate_size=1408, num_experts=60)),
    ("qwen3_moe", MOE | BIASED),
    ("qwen3_moe", MOE | SOME_DENSE),
    ("qwen3_moe", wide(2048, 6144, 48, 32, 4, head_dim=128, moe_intermediate_size=768, num_experts=128)),
    ("olmo2", GROUPED | BIASED),
    ("olmo2", wide(4096, 11008, 32, 32, 32)),
    ("olmo3", GROUPED),
    ("olmo3", wide(4096, 11008, 32, 32, 32)),
    ("granite", GROUPED | BIASED),
    ("granite", wide(4096, 12800, 40, 32, 8, tie_word_embeddings=True)),
    ("starcoder2", GROUPED),
    ("starcoder2", GROUPED | {"use_bias": False}),
    ("starcoder2", wide(3072, 12288, 30, 24, 2)),
    ("smollm3", GROUPED | BIASED),
    ("smollm3", wide(2048, 11008, 36, 16, 4)),
]


def built(kind: str, fields: dict[str, Any]) -> PreTrainedModel:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields))


def in_the_model(model: PreTrainedModel) -> Counter[tuple[str, int, int]]:
    named = ((name.rsplit(".", 1)[-1], module) for name, module in model.named_modules())
    return Counter(
        (name, module.in_features, module.out_features)
        for name, module in named
        if isinstance(module, nn.Linear) and name not in NOT_ADAPTED
    )


def in_the_shapes(shapes: Shapes) -> Counter[tuple[str, int, int]]:
    found: Counter[tuple[str, int, int]] = Counter()
    for linear in shapes.linears:
        found[linear.name, linear.inputs, linear.outputs] += shapes.times(linear)
    return found


@pytest.mark.parametrize(("kind", "fields"), CASES, ids=[f"{kind}-{fields['hidden_size']}" for kind, fields in CASES])
def test_the_shapes_are_those_of_the_model_that_transformers_builds(kind: str, fields: dict[str, Any]) -> None:
    model = built(kind, fields)
    shapes = ARCHITECTURES[type(model).__name__](Config(fields, "config.json"))
    assert in_the_shapes(shapes) == in_the_model(model)
    assert shapes.base_parameters == sum(parameter.numel() for parameter in model.parameters())
    as_saved = ARCHITECTURES[type(model).__name__](Config(model.config.to_dict(), "config.json"))
    assert (as_saved.linears, as_saved.base_parameters) == (shapes.linears, shapes.base_parameters)
    assert set(shapes.modules) <= set(MODULES)  # so that a plan can name them
    setting = Setting(5, 1, 3, 2)
    config = ProloraConfig(r=5, u=1, m=3, n=2, target_modules=list(shapes.modules))
    trained = get_peft_model(model, config, low_cpu_mem_usage=True)
    assert sum(each.numel() for each in trained.parameters() if each.requires_grad) == count(setting, shapes)


OFTEN_ABSENT = ("num_key_value_heads", "head_dim", "tie_word_embeddings")
# More heads than any class gives to keys and values by default, so that its default shows.
MANY_HEADS = {kind: fields | {"num_attention_heads": 64} for kind, fields in CASES if fields["hidden_size"] == 64}


@pytest.mark.parametrize("absent", OFTEN_ABSENT)
@pytest.mark.parametrize("kind", MANY_HEADS)
def test_an_absent_field_has_the_value_that_transformers_gives_it(kind: str, absent: str) -> None:
    fields = {field: value for field, value in MANY_HEADS[kind].items() if field != absent}
    model = built(kind, fields)
    shapes = ARCHITECTURES[type(model).__name__](Config(fields, "config.json"))
    assert in_the_shapes(shapes) == in_the_model(model)
    assert shapes.base_parameters == sum(parameter.numel() for parameter in model.parameters())


def test_every_architecture_of_the_table_is_compared() -> None:
    kinds = {kind for kind, _ in CASES}
    assert {type(built(kind, next(f for k, f in CASES if k == kind))).__name__ for kind in kinds} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_too_large_to_count_is_refused(name: str) -> None:
    fields = {field: 10**7 if type(value) is int else value for field, value in (MOE | NARROW_SHARED).items()}
    with pytest.raises(BaseModelError, match=r"config\.json describes a model of more than 1,000,000,000,000,000"):
        ARCHITECTURES[name](Config(fields | {"num_local_experts": 8}, "config.json"))


@pytest.mark.parametrize("layers", [1, "1", True, {"1": 1}])
def test_layers_without_experts_are_a_list(layers: Any) -> None:
    with pytest.raises(BaseModelError, match="mlp_only_layers"):
        ARCHITECTURES["Qwen3MoeForCausalLM"](Config(MOE | {"mlp_only_layers": layers}, "config.json"))


def test_a_mixture_says_that_its_experts_are_not_adapted() -> None:
    for name in ("MixtralForCausalLM", "Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM"):
        note = ARCHITECTURES[name](Config(MOE | NARROW_SHARED, "config.json")).note
        assert "experts" in note
    assert ARCHITECTURES["LlamaForCausalLM"](Config(TINY, "config.json")).note == ""


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"num_attention_heads": 65}, "num_attention_heads"),
        ({"hidden_size": 10**9}, "hidden_size"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"attention_bias": 1}, "attention_bias"),
        ({"vocab_size": None}, "vocab_size"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BaseModelError, match=sentence):
        ARCHITECTURES["LlamaForCausalLM"](Config(TINY | fields, "config.json"))
