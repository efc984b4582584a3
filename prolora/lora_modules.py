"""The tensors of a saved LoRA by the layer they belong to."""

import re
from collections.abc import Mapping

from torch import Tensor

from prolora.adapter_file import WEIGHTS, AdapterError

FACTORS = ("lora_A.weight", "lora_B.weight")
AUTHORS_PARTS = (*FACTORS, "lora_A_vec", "lora_B_vec")
MAGNITUDE = "lora_magnitude_vector"
Module = dict[str, Tensor]


def by_module(stored: Mapping[str, Tensor]) -> tuple[dict[str, Module], dict[str, Tensor]]:
    """Parameters by layer, under PEFT's names of a saved adapter or of a live model, and all other tensors."""
    modules: dict[str, Module] = {}
    others: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if found := re.fullmatch(r"(.+)\.(lora_[AB])(?:\.\w+)?\.weight", name):
            modules.setdefault(found[1], {})[f"{found[2]}.weight"] = tensor
        elif found := re.fullmatch(rf"(.+)\.(lora_[AB]_vec|{MAGNITUDE})(?:\.\w+)*", name):
            modules.setdefault(found[1], {})[found[2]] = tensor
        elif "lora_" in name:
            raise AdapterError(f"{name} is no part of a LoRA of linear layers, so it cannot be converted or merged.")
        else:
            others[name] = tensor
    if not modules:
        raise AdapterError(f"{WEIGHTS} holds no factors of a LoRA.")
    for name, parts in modules.items():
        _check(name, parts)
    return modules, others


def _check(name: str, parts: Module) -> None:
    for part in AUTHORS_PARTS if parts.keys() & {"lora_A_vec", "lora_B_vec"} else FACTORS:
        if part not in parts or parts[part].ndim != 2:
            raise AdapterError(f"{name} lacks {part} with two dimensions.")
