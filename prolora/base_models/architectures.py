"""ARCHITECTURES: the shapes of a base model from its config.json alone, without torch.

A field that is absent has the value that transformers gives it. Every architecture is compared with the model that
transformers builds, in tests/prolora/test_architectures.py.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from prolora.base_models.shapes import MOST, Linear, Shapes
from prolora.errors import BaseModelError

LARGEST = 10**7  # wider than any model, and small enough for exact counts
ATTENTION = ("q_proj", "k_proj", "v_proj")
EXPERTS = (
    "The weights of its experts are one tensor a layer and no linear layers, so adapters leave them as they are and "
    "train the attention{more}."
)


@dataclass(frozen=True)
class Config:
    """The fields of a config.json; asking for one that cannot be used raises, naming the file."""

    fields: Mapping[str, Any]
    file: str

    def number(self, field: str, absent: int | None = None) -> int:
        value = self.fields.get(field)
        value = absent if value is None else value
        if type(value) is not int or not 1 <= value <= LARGEST:  # True is an int too
            raise BaseModelError(f"{self.file} has no usable {field}: it must be a whole number from 1 to {LARGEST:,}.")
        return value

    def flag(self, field: str, absent: bool) -> bool:
        value = self.fields.get(field)
        value = absent if value is None else value
        if type(value) is not bool:
            raise BaseModelError(f"{self.file} has no usable {field}: it must be true or false.")
        return value

    @property
    def hidden(self) -> int:
        return self.number("hidden_size")

    @property
    def layers(self) -> int:
        return self.number("num_hidden_layers")

    @property
    def heads(self) -> int:
        return self.number("num_attention_heads")

    @property
    def key_values(self) -> int:
        return self.number("num_key_value_heads", self.heads)

    @property
    def head(self) -> int:
        """The width of a head."""
        if self.fields.get("head_dim") is None and self.heads > self.hidden:
            raise BaseModelError(f"{self.file} has no usable num_attention_heads: it must be at most hidden_size.")
        return self.number("head_dim", self.hidden // self.heads)


def attention(config: Config, out: str = "o_proj") -> tuple[Linear, ...]:
    """Queries, keys, values and the way back; under grouped queries keys and values are narrower."""
    query, key = config.heads * config.head, config.key_values * config.head
    widths = zip(ATTENTION, (query, key, key), strict=True)
    return (*(Linear(name, config.hidden, width) for name, width in widths), Linear(out, query, config.hidden))


def gated(hidden: int, inner: int, count: int | None = None) -> tuple[Linear, ...]:
    """A gated feed-forward network."""
    inwards = tuple(Linear(name, hidden, inner, count) for name in ("gate_proj", "up_proj"))
    return (*inwards, Linear("down_proj", inner, hidden, count))


def bias(linears: Iterable[Linear], layers: int) -> int:
    """What biases on these linear layers have over all layers."""
    return layers * sum(each.outputs for each in linears)


def shapes_of(config: Config, linears: tuple[Linear, ...], other: int, tied: bool = False, note: str = "") -> Shapes:
    """`other` parameters are those that are in neither a linear layer's weights nor an embedding."""
    layers, vocabulary = config.layers, config.number("vocab_size")
    bare = Shapes(layers, config.hidden, linears, 0)
    embeddings = vocabulary * config.hidden * (1 if tied else 2)
    total = embeddings + other + sum(bare.times(each) * each.weights for each in linears)
    shapes = Shapes(layers, config.hidden, linears, total, vocabulary, config.heads, note)
    if not shapes.countable:
        raise BaseModelError(f"{config.file} describes a model of more than {MOST:,} parameters. Copy the file again.")
    return shapes


def llama(config: Config, tied: bool = False, norms: int = 2, more: int = 0) -> Shapes:
    """Llama, Granite, SmolLM3 and their kin: `norms` of the hidden width a layer, `more` other parameters a layer."""
    attends = attention(config)
    inner = gated(config.hidden, config.number("intermediate_size"))
    other = config.hidden * (norms * config.layers + 1) + more * config.layers
    other += bias(attends, config.layers) if config.flag("attention_bias", absent=False) else 0
    other += bias(inner, config.layers) if config.flag("mlp_bias", absent=False) else 0
    return shapes_of(config, attends + inner, other, config.flag("tie_word_embeddings", tied))


def _plain(config: Config) -> Config:
    """The models of some architectures never have biases, whatever their file says."""
    return Config({**config.fields, "attention_bias": False, "mlp_bias": False}, config.file)


def _only_attention_bias(config: Config) -> Config:
    return Config({**config.fields, "mlp_bias": False}, config.file)


def mistral(config: Config) -> Shapes:
    return llama(_plain(_with(config, num_key_value_heads=8)))


def qwen2(config: Config) -> Shapes:
    config = _with(config, num_key_value_heads=32)
    more = sum(each.outputs for each in attention(config) if each.name in ATTENTION)
    return llama(_plain(config), more=more)


def qwen3(config: Config) -> Shapes:
    """Queries and keys are normalised head by head."""
    config = _with(config, num_key_value_heads=32, head_dim=128)
    shapes = llama(_only_attention_bias(config), more=2 * config.head)
    return replace(shapes, normed=_queries_and_keys(config))


def olmo2(config: Config) -> Shapes:
    """Queries and keys are normalised whole."""
    whole = _queries_and_keys(config)
    return replace(llama(_only_attention_bias(config), more=whole), normed=whole)


def smollm3(config: Config) -> Shapes:
    return llama(_with(config, num_key_value_heads=4), tied=True)


def gemma(config: Config) -> Shapes:
    return llama(_with(_only_attention_bias(config), num_key_value_heads=16, head_dim=256), tied=True)


def gemma2(config: Config) -> Shapes:
    shapes = llama(_with(_only_attention_bias(config), num_key_value_heads=4, head_dim=256), tied=True, norms=4)
    return replace(shapes, normed=2 * config.hidden)


def gemma3(config: Config) -> Shapes:
    config = _with(_only_attention_bias(config), num_key_value_heads=4, head_dim=256)
    shapes = llama(config, tied=True, norms=4, more=2 * config.head)
    return replace(shapes, normed=2 * config.hidden + _queries_and_keys(config))


def _queries_and_keys(config: Config) -> int:
    return sum(each.outputs for each in attention(config)[:2])


def _with(config: Config, **absent: int) -> Config:
    """What transformers gives to fields that are absent; one that is null stays so."""
    return Config({**absent, **config.fields}, config.file)


def phi(config: Config) -> Shapes:
    """One norm a layer, and biases everywhere, the output head's too."""
    inner, hidden = config.number("intermediate_size"), config.hidden
    linears = (*attention(config, out="dense"), Linear("fc1", hidden, inner), Linear("fc2", inner, hidden))
    norms = 2 * hidden * (config.layers + 1)
    if config.flag("qk_layernorm", absent=False):
        norms += config.layers * 4 * (hidden // config.heads)
    other = norms + bias(linears, config.layers) + config.number("vocab_size")
    return shapes_of(config, linears, other, config.flag("tie_word_embeddings", absent=False))


def phi3(config: Config) -> Shapes:
    """Queries, keys and values in one layer, gate and up in another."""
    attends, inner = attention(config), gated(config.hidden, config.number("intermediate_size"))
    linears = (
        Linear("qkv_proj", config.hidden, sum(each.outputs for each in attends[:3])),
        attends[3],
        Linear("gate_up_proj", config.hidden, sum(each.outputs for each in inner[:2])),
        inner[2],
    )
    other = config.hidden * (2 * config.layers + 1)
    return shapes_of(config, linears, other, config.flag("tie_word_embeddings", absent=False))


def gpt_neox(config: Config) -> Shapes:
    hidden, inner, layers = config.hidden, config.number("intermediate_size"), config.layers
    attends = (Linear("query_key_value", hidden, 3 * hidden), Linear("dense", hidden, hidden))
    feeds = (Linear("dense_h_to_4h", hidden, inner), Linear("dense_4h_to_h", inner, hidden))
    other = 2 * hidden * (2 * layers + 1) + bias(feeds, layers)
    other += bias(attends, layers) if config.flag("attention_bias", absent=True) else 0
    return shapes_of(config, attends + feeds, other, config.flag("tie_word_embeddings", absent=False))


def starcoder2(config: Config) -> Shapes:
    config = _with(config, num_key_value_heads=2)
    hidden, inner, layers = config.hidden, config.number("intermediate_size"), config.layers
    linears = (*attention(config), Linear("c_fc", hidden, inner), Linear("c_proj", inner, hidden))
    other = 2 * hidden * (2 * layers + 1)
    other += bias(linears, layers) if config.flag("use_bias", absent=True) else 0
    return shapes_of(config, linears, other, config.flag("tie_word_embeddings", absent=True))


def mixtral(config: Config) -> Shapes:
    config = _with(config, num_key_value_heads=8)
    hidden, layers, experts = config.hidden, config.layers, config.number("num_local_experts", 8)
    each = 3 * hidden * config.number("intermediate_size") + hidden  # an expert, and its row in the router
    other = hidden * (2 * layers + 1) + layers * experts * each
    tied = config.flag("tie_word_embeddings", absent=False)
    return shapes_of(config, attention(config), other, tied, EXPERTS.format(more=""))


def qwen2_moe(config: Config) -> Shapes:
    """Every layer with experts has one more that all tokens pass, an ordinary network behind a gate of one number."""
    config = _with(config, num_key_value_heads=16)
    sparse, hidden = _sparse(config), config.hidden
    shared = gated(hidden, config.number("shared_expert_intermediate_size", 5632), sparse)
    attends = attention(config)
    other = _experts(config, sparse) + hidden * (2 * config.layers + 1) + sparse * hidden
    other += bias(attends[:3], config.layers) if config.flag("qkv_bias", absent=True) else 0
    note = EXPERTS.format(more=" and the shared experts")
    linears = attends + (shared if sparse else ()) + _dense(config, sparse)
    return shapes_of(config, linears, other, config.flag("tie_word_embeddings", absent=False), note)


def qwen3_moe(config: Config) -> Shapes:
    config = _with(config, num_key_value_heads=4)
    sparse, attends = _sparse(config), attention(config)
    other = _experts(config, sparse) + config.hidden * (2 * config.layers + 1) + 2 * config.head * config.layers
    other += bias(attends, config.layers) if config.flag("attention_bias", absent=False) else 0
    linears = attends + _dense(config, sparse)
    tied = config.flag("tie_word_embeddings", absent=False)
    return shapes_of(config, linears, other, tied, EXPERTS.format(more=""))


def _sparse(config: Config) -> int:
    """How many layers have experts."""
    step, dense = config.number("decoder_sparse_step", 1), config.fields.get("mlp_only_layers") or []
    if not isinstance(dense, list):
        raise BaseModelError(f"{config.file} has no usable mlp_only_layers: it must be a list of layers' numbers.")
    return sum((layer + 1) % step == 0 and layer not in dense for layer in range(config.layers))


def _dense(config: Config, sparse: int) -> tuple[Linear, ...]:
    """The networks of layers without experts."""
    rest = config.layers - sparse
    return gated(config.hidden, config.number("intermediate_size"), rest) if rest else ()


def _experts(config: Config, sparse: int) -> int:
    """Parameters of all experts, each with its row in the router."""
    each = 3 * config.hidden * config.number("moe_intermediate_size") + config.hidden
    experts = config.fields.get("num_experts", config.fields.get("num_local_experts"))
    return sparse * each * Config({"num_experts": experts}, config.file).number("num_experts")


ARCHITECTURES: dict[str, Callable[[Config], Shapes]] = {
    "LlamaForCausalLM": llama,
    "MistralForCausalLM": mistral,
    "Qwen2ForCausalLM": qwen2,
    "Qwen3ForCausalLM": qwen3,
    "GemmaForCausalLM": gemma,
    "Gemma2ForCausalLM": gemma2,
    "Gemma3ForCausalLM": gemma3,
    "PhiForCausalLM": phi,
    "Phi3ForCausalLM": phi3,
    "GPTNeoXForCausalLM": gpt_neox,
    "MixtralForCausalLM": mixtral,
    "Qwen2MoeForCausalLM": qwen2_moe,
    "Qwen3MoeForCausalLM": qwen3_moe,
    "Olmo2ForCausalLM": olmo2,
    "Olmo3ForCausalLM": olmo2,
    "GraniteForCausalLM": llama,
    "Starcoder2ForCausalLM": starcoder2,
    "SmolLM3ForCausalLM": smollm3,
}
