"""Whether an adapter is of the served base, by the shapes in both files' headers; no weights are read.

vLLM loads adapters of narrower bases without complaint, ignores layers it does not have, and keeps
a slot occupied by what failed half-way, so strangers are refused before it sees them.
"""

from functools import cache
from pathlib import Path

from safetensors import safe_open

from prolora.adapter_file import WEIGHTS, AdapterError

PREFIX = "base_model.model."
Shape = tuple[int, ...]


def check(base: Path, lora: Path) -> None:
    """Raise for a LoRA folder whose layers are not those of the base folder."""
    known = layers(base)
    found = shapes(lora / WEIGHTS)
    modules = {name.removesuffix(".lora_A.weight") for name in found if name.endswith(".lora_A.weight")}
    names = {module: module.removeprefix(PREFIX) + ".weight" for module in modules}
    if known.keys().isdisjoint(names.values()):
        return  # a base saved under other names than transformers', of which nothing can be said
    for module, name in names.items():
        shape = (found[f"{module}.lora_B.weight"][0], found[f"{module}.lora_A.weight"][1])
        if known.get(name) != shape:
            raise AdapterError(f"It was trained on another base: {name} is {shape} there and {known.get(name)} here.")


@cache
def layers(base: Path) -> dict[str, Shape]:
    """The shape of every weight of a base; nothing for one that is not a folder of safetensors."""
    return {name: shape for file in sorted(base.glob("*.safetensors")) for name, shape in shapes(file).items()}


def shapes(file: Path) -> dict[str, Shape]:
    with safe_open(file, framework="pt") as tensors:
        return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
