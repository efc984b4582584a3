"""A safetensors file written tensor by tensor, so that only one of them is ever held."""

import json
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ALIGNED = 8  # bytes, at which safetensors wants the numbers to begin


def write_tensors(path: Path, kinds: Mapping[str, tuple[str, tuple[int, ...]]], load: Callable[[str], Tensor]) -> int:
    """Write what `load` gives for each name, as the dtype (F32, BF16, ...) and in the shape told; return the bytes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in kinds.items():
        start, end = end, end + prod(shape) * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, (dtype, _) in kinds.items():
            numbers = load(name).to(DTYPES[dtype]).contiguous().reshape(-1)
            file.write(numbers.view(torch.uint8).numpy().data)
    return end
