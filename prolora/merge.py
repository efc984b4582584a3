"""An adapter's update added to the full weights of its base, shard by shard, as a model of its own."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from prolora.adapter_config import check_factors_alone, scaling
from prolora.adapter_file import PREFIX, AdapterError, Shape, header
from prolora.export import as_lora
from prolora.folder import aside
from prolora.lora_modules import MAGNITUDE, Module, by_module
from prolora.tensor_file import DTYPES, write_tensors

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
CODES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
BESIDE = (".json", ".model", ".txt", ".jinja", ".tiktoken")  # of tokenizer and configuration
HEAD = "lm_head.weight"
TIED = ("embed_tokens.weight", HEAD)
LICENCES = ("LICENSE", "LICENCE", "NOTICE")


@dataclass(frozen=True)
class Update:
    """What is added to a weight; with DoRA its rows are then brought to a length."""

    parts: Module
    scale: float

    @property
    def shape(self) -> Shape:
        return len(self.parts["lora_B.weight"]), self.parts["lora_A.weight"].shape[1]

    def apply(self, weight: Tensor) -> Tensor:
        """In float32, whatever the weight is stored in."""
        update = self.parts["lora_B.weight"].float() @ self.parts["lora_A.weight"].float()
        changed = weight.float().add(update, alpha=self.scale)
        if MAGNITUDE in self.parts:
            lengths = torch.linalg.vector_norm(changed, dim=1, keepdim=True)
            changed *= self.parts[MAGNITUDE].float().view(-1, 1) / lengths
        return changed


@dataclass(frozen=True)
class Replacement:
    """A weight or a bias that was trained whole."""

    tensor: Tensor

    @property
    def shape(self) -> Shape:
        return tuple(self.tensor.shape)

    def apply(self, _weight: Tensor) -> Tensor:
        return self.tensor


Changes = dict[str, Update | Replacement]  # by the name of the weight in the base's files


def merge(
    adapter: Path,
    target: Path,
    base: Path,
    dtype: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the model that answers as base and adapter do; `dtype` is a name of CODES, else each weight keeps its."""
    config, shards = _config(base), _shards(base)
    changes = _changes(adapter)
    _check(changes, base, shards, config)
    with aside(target) as folder:
        sizes = []
        for number, shard in enumerate(shards, 1):
            sizes.append(_write_shard(base / shard, folder / shard, changes, dtype))
            progress(f"{number} of {len(shards)}: {shard}")
        if (base / INDEX).is_file():
            _write_index(folder, base, sum(sizes))
        _copy_beside(base, folder)
        if dtype:
            named = {key: dtype for key in ("dtype", "torch_dtype") if key in config} or {"dtype": dtype}
            (folder / "config.json").write_text(json.dumps(config | named, indent=2) + "\n")
    return target


def _config(base: Path) -> dict[str, Any]:
    config = _json(base / "config.json")
    if config.get("quantization_config"):
        raise AdapterError(
            f"{base} is quantised, and an update cannot be added to rounded weights: rounding them again would lose "
            "most of it. Give the folder of the base in bfloat16 or float32."
        )
    return config


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise AdapterError(f"There is no readable {path.name} in {path.parent}, so it is no model's folder.") from error


def _shards(base: Path) -> tuple[str, ...]:
    """Names of the files that hold the weights."""
    names = _named(base / INDEX) if (base / INDEX).is_file() else (SINGLE,)
    for name in names:
        if Path(name).name != name or not (base / name).is_file():
            raise AdapterError(f"{base} has no {name}. Only bases whose safetensors files are all there can be merged.")
    return names


def _named(index: Path) -> tuple[str, ...]:
    """The files that an index names, in its order."""
    places = _json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(each, str) for each in places.values()):
        raise AdapterError(f"weight_map in {index} must name the file of each weight. Copy the base again.")
    return tuple(dict.fromkeys(places.values()))


def _changes(adapter: Path) -> Changes:
    config, tensors = as_lora(adapter)
    check_factors_alone(config)
    if config.get("fan_in_fan_out"):
        raise AdapterError("The adapter is of layers that keep their weights transposed, which only PEFT can merge.")
    modules, others = by_module(tensors)
    # PEFT may save the base's own weight of an adapted output head beside it.
    whole = {name: tensor for name, tensor in others.items() if ".base_layer." not in name}
    changes: Changes = {name.removeprefix(PREFIX): Replacement(tensor) for name, tensor in whole.items()}
    for name, parts in modules.items():
        changes[f"{name.removeprefix(PREFIX)}.weight"] = Update(parts, scaling(config, name))
    return changes


def _check(changes: Changes, base: Path, shards: tuple[str, ...], config: dict[str, Any]) -> None:
    """Before anything is written: the base has all that the adapter changes, in its shape and in full precision."""
    shapes: dict[str, Shape] = {}
    for shard in shards:
        found, dtypes = header(base / shard)
        shapes |= found
        if odd := set(dtypes) - set(DTYPES):
            raise AdapterError(f"{base / shard} holds {min(odd)}; only bases in bfloat16, float16 or float32 merge.")
    # Some architectures, as Gemma, are tied without a word in their config.json: then there is no head in their files.
    tied = config.get("tie_word_embeddings") or not any(name.endswith(HEAD) for name in shapes)
    for name, change in changes.items():
        if tied and name.endswith(TIED):
            raise AdapterError(f"The adapter changes {name}, which in {base} also is another layer's. Untie it first.")
        if name not in shapes:
            raise AdapterError(f"The adapter changes {name}, and the base in {base} has no such weight.")
        if shapes[name] != change.shape:
            raise AdapterError(f"It was trained on another base: {name} is {change.shape} there, {shapes[name]} here.")


def _write_shard(shard: Path, target: Path, changes: Changes, dtype: str | None) -> int:
    """One weight at a time, rounded once; returns the bytes of the weights."""
    with safe_open(shard, framework="pt") as file:

        def load(name: str) -> Tensor:
            weight: Tensor = file.get_tensor(name)
            changed = changes[name].apply(weight) if name in changes else weight
            rounded = changed.to(DTYPES[kinds[name][0]])
            if not rounded.isfinite().all() and weight.isfinite().all():
                raise AdapterError(f"{name} would not be finite in {kinds[name][0]}. Give another --dtype, or adapter.")
            return rounded

        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        stored = CODES[dtype] if dtype else None
        kinds = {name: (stored or each.get_dtype(), tuple(each.get_shape())) for name, each in slices.items()}
        return write_tensors(target, kinds, load)


def _write_index(folder: Path, base: Path, size: int) -> None:
    index = _json(base / INDEX)
    index["metadata"] = {"total_size": size}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _copy_beside(base: Path, folder: Path) -> None:
    for path in sorted(base.iterdir()):
        wanted = path.suffix in BESIDE or path.name.upper().startswith(LICENCES)
        if path.is_file() and wanted and not path.name.endswith(".index.json") and not path.name.startswith("."):
            shutil.copyfile(path, folder / path.name)
