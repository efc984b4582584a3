"""Whether an adapter is of the served base, by the shapes in both files' headers; no weights of the base are read.

vLLM loads adapters of narrower bases without complaint, ignores layers it does not have, and keeps
a slot occupied by what failed half-way, so strangers are refused before it sees them.
"""

from functools import cache
from pathlib import Path

from prolora.adapter_file import PREFIX, AdapterError, Shape, header, read


def check(base: Path, lora: Path) -> None:
    """Raise for a LoRA folder whose layers are not those of the base folder."""
    known = layers(base)
    adapter = read(lora)
    names = {module: module.removeprefix(PREFIX) + ".weight" for module in adapter.modules}
    if known.keys().isdisjoint(names.values()):
        return  # a base saved under other names than transformers', of which nothing can be said
    for module, name in names.items():
        shape = (adapter.shapes[f"{module}.lora_B.weight"][0], adapter.shapes[f"{module}.lora_A.weight"][1])
        if known.get(name) != shape:
            raise AdapterError(f"It was trained on another base: {name} is {shape} there and {known.get(name)} here.")


@cache
def layers(base: Path) -> dict[str, Shape]:
    """The shape of every weight of a base; nothing for one that is not a folder of safetensors."""
    return {name: shape for file in sorted(base.glob("*.safetensors")) for name, shape in header(file)[0].items()}
