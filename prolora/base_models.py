"""Base models: their shapes, where they lie, and what trains well on them."""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from prolora.errors import BaseModelError
from prolora.plan import PROJECTIONS, Quantization, Setting

DEMO = Path(__file__).parents[1] / "static" / "demo-base"
LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Linear:
    """One target module as it stands in every layer."""

    name: str
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Shapes:
    layers: int
    hidden: int
    linears: tuple[Linear, ...]
    base_parameters: int  # of the whole model

    def targets(self, target_modules: tuple[str, ...] = PROJECTIONS) -> tuple[Linear, ...]:
        return tuple(linear for linear in self.linears if linear.name in target_modules)

    def times(self, linear: Linear) -> int:
        """How many modules of this kind the whole model has."""
        return self.layers

    def lora_unit(self, target_modules: tuple[str, ...] = PROJECTIONS) -> int:
        """What one rank of LoRA costs over all layers: the sum of h + o."""
        return self.layers * sum(linear.inputs + linear.outputs for linear in self.targets(target_modules))


@dataclass(frozen=True)
class TrainingDefaults:
    learning_rate: float
    epochs: float
    batch_size: int
    max_length: int
    alpha: float
    dropout: float
    lora_rank: int
    quantization: Quantization
    alpha_per_rank: bool = False  # alpha is for each rank: a run and its twin then scale alike

    def alpha_of(self, setting: Setting) -> float:
        return self.alpha * setting.r if self.alpha_per_rank else self.alpha


@dataclass(frozen=True)
class BaseModel:
    name: str  # as a plan names it
    title: str  # as a person reads it
    source: str  # a folder, or a name on the hub
    shapes: Shapes
    defaults: TrainingDefaults
    local: bool = False  # `source` is a folder on this machine


PAPER = TrainingDefaults(
    learning_rate=2e-4, epochs=3, batch_size=16, max_length=512, alpha=16, dropout=0.1, lora_rank=8, quantization="nf4"
)
# A model of few layers and narrow ones needs larger steps to learn anything in minutes.
SMALL = TrainingDefaults(
    learning_rate=4e-3,
    epochs=6,
    batch_size=8,
    max_length=256,
    alpha=2,
    alpha_per_rank=True,
    dropout=0.0,
    lora_rank=8,
    quantization="nf4",
)
SMALL_UNDER = 1024  # hidden size
LONGEST_NAME = 255  # what a row holds of a base's name
NUMBERS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
OPTIONAL_NUMBERS = ("num_key_value_heads", "head_dim")


def llama(config: dict[str, Any]) -> Shapes:
    """The shapes of a LlamaForCausalLM, from the fields of its config.json."""
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    query, key = heads * head, (config.get("num_key_value_heads") or heads) * head
    attention = ((hidden, query), (hidden, key), (hidden, key), (query, hidden))
    widths = (*attention, (hidden, inner), (hidden, inner), (inner, hidden))
    embeddings = config["vocab_size"] * hidden * (1 if config.get("tie_word_embeddings") else 2)
    norms = hidden * (2 * layers + 1)
    return Shapes(
        layers=layers,
        hidden=hidden,
        linears=tuple(Linear(name, *pair) for name, pair in zip(PROJECTIONS, widths, strict=True)),
        base_parameters=embeddings + norms + layers * sum(prod(pair) for pair in widths),
    )


def llama_2(hidden: int, inner: int, layers: int, heads: int, key_value_heads: int) -> Shapes:
    return llama(
        {
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": key_value_heads,
            "vocab_size": 32000,
        }
    )


DEMO_SHAPES = llama(
    {
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 1024,
        "tie_word_embeddings": True,
    }
)

CATALOGUE = (
    BaseModel("demo", "Demo shop support (3.4M)", str(DEMO), DEMO_SHAPES, SMALL, local=True),
    BaseModel("llama-2-7b", "LLaMA-2 7B", "meta-llama/Llama-2-7b-hf", llama_2(4096, 11008, 32, 32, 32), PAPER),
    BaseModel("llama-2-13b", "LLaMA-2 13B", "meta-llama/Llama-2-13b-hf", llama_2(5120, 13824, 40, 40, 40), PAPER),
    BaseModel("llama-2-70b", "LLaMA-2 70B", "meta-llama/Llama-2-70b-hf", llama_2(8192, 28672, 80, 64, 8), PAPER),
)


def find(name_or_folder: str | None) -> BaseModel:
    """A model of the catalogue by name, or the Llama in a local folder; a cleared field says None."""
    name = (name_or_folder or "").strip()
    for base in CATALOGUE:
        if base.name == name:
            return base
    folder = _folder(name)
    if len(str(folder)) > LONGEST_NAME:
        raise BaseModelError(f"The path {folder} is longer than {LONGEST_NAME} characters. Move the model to another.")
    shapes = check_folder(folder)
    defaults = SMALL if shapes.hidden < SMALL_UNDER else PAPER
    return BaseModel(str(folder), folder.name, str(folder), shapes, defaults, local=True)


def _folder(name: str) -> Path:
    """The whole path of what is there by this name."""
    try:
        folder = Path(name).expanduser()
        if name and folder.exists():
            return folder.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user, or links that go in a circle
        raise BaseModelError(f"“{name}” cannot be looked at ({error}). Give the folder of a Llama.") from error
    names = ", ".join(base.name for base in CATALOGUE)
    raise BaseModelError(f"There is no base model called “{name}”. Choose {names}, or give the folder of a Llama.")


def check_folder(folder: Path) -> Shapes:
    """The shapes of the Llama in a folder; raises when a part of it is missing or of another kind."""
    try:
        return _check_folder(folder)
    except OSError as error:
        raise BaseModelError(f"{folder} cannot be read ({error}). Let the studio's user read it.") from error


def _check_folder(folder: Path) -> Shapes:
    if not folder.is_dir():
        raise BaseModelError(f"{folder} is not a folder. Give the folder that holds config.json and the weights.")
    config = _config(folder)
    kinds = config.get("architectures")
    kinds = kinds if isinstance(kinds, list) and kinds else ["a model of no named kind"]
    if "LlamaForCausalLM" not in kinds:
        raise BaseModelError(f"{folder} holds {', '.join(map(str, kinds))}; the studio trains LlamaForCausalLM only.")
    if config.get("quantization_config"):
        raise BaseModelError(f"The weights in {folder} are already quantised. Give the full-precision model.")
    shapes = _shapes(config, folder)
    _check_weights(folder)
    if not (folder / "tokenizer.json").is_file():
        raise BaseModelError(
            f"{folder} has no tokenizer.json. Save the model's fast tokenizer into it with save_pretrained."
        )
    return shapes


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BaseModelError(f"{path} cannot be read as JSON ({error}). Copy the file again.") from error
    if not isinstance(value, dict):
        raise BaseModelError(f"{path} does not hold a JSON object. Copy the file again.")
    return value


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").is_file():
        raise BaseModelError(f"{folder} has no config.json, so it is not a model's folder. Choose another.")
    return _read_json(folder / "config.json")


def _shapes(config: dict[str, Any], folder: Path) -> Shapes:
    given = [field for field in OPTIONAL_NUMBERS if config.get(field) is not None]
    for field in (*NUMBERS, *given):
        value = config.get(field)
        if type(value) is not int or value < 1:  # True is an int too
            raise BaseModelError(f"{folder / 'config.json'} has no usable {field}: it must be a whole number above 0.")
    return llama(config)


def _check_weights(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    files = [folder / "model.safetensors"]
    if not files[0].is_file() and index.is_file():
        shards = _read_json(index).get("weight_map")
        files = [folder / name for name in sorted(set(map(str, shards.values())))] if isinstance(shards, dict) else []
        if not files:
            raise BaseModelError(f"{index} names no weight files. Copy the model again.")
    for path in files:
        _check_safetensors(path)


def _check_safetensors(path: Path) -> None:
    if not path.is_file():
        raise BaseModelError(
            f"{path.parent} has no weights: {path.name} is missing. Copy the safetensors files into the folder."
        )
    with path.open("rb") as file:
        start = file.read(len(LFS_POINTER))
    if start == LFS_POINTER:
        raise BaseModelError(f"{path} is a Git LFS pointer, not the weights. Run `git lfs pull` where it came from.")
    header = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or header + 8 > path.stat().st_size:
        raise BaseModelError(f"{path} is not a whole safetensors file. Copy it again.")
