"""A PRoLoRA adapter as a plain PEFT LoRA, exactly: the factors are unfolded, which only copies numbers."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from prolora.adapter_config import lora_config
from prolora.adapter_file import CONFIG, WEIGHTS, AdapterError, layout, read
from prolora.factor import factors
from prolora.folder import aside, load_tensors, write_adapter


def content_hash(folder: Path) -> str:
    """What an adapter is, whatever it is called and wherever it lies."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        try:
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise AdapterError(f"There is no readable {name} in {folder}.") from error
    return digest.hexdigest()


def to_lora(source: Path, target: Path) -> Path:
    """Write the adapter in `source` as a plain LoRA folder; one that is a LoRA already is copied."""
    config = _read(source)
    with aside(target) as folder:
        if config["peft_type"] == "LORA":
            for name in (CONFIG, WEIGHTS):
                shutil.copyfile(source / name, folder / name)
        else:
            write_adapter(folder, lora_config(config), lora_tensors(config, load_tensors(source)))
    return target


def _read(source: Path) -> dict[str, Any]:
    """The configuration; refuses the authors' checkpoints, whose lora_A and lora_B are chunks under a LoRA's names."""
    found = read(source)
    if any("lora_A_vec" in name for name in found.shapes):
        raise AdapterError(
            f"{source} is a compact checkpoint of the paper's authors' code. Make it a PRoLoRA first, by "
            "`prolora convert` without --budget and --r."
        )
    return found.config


def as_lora(source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of an adapter of either method, as a plain LoRA has them."""
    config = _read(source)
    tensors = load_tensors(source)
    if config["peft_type"] == "LORA":
        return config, tensors
    return lora_config(config), lora_tensors(config, tensors)


def lora_tensors(config: dict[str, Any], stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The full factors under PEFT's names for LoRA; tensors that are no adapter's pass unchanged."""
    tensors = {name: tensor for name, tensor in stored.items() if ".prolora_" not in name}
    for module in (name.removesuffix(".prolora_A_u") for name in stored if name.endswith(".prolora_A_u")):
        made_of = layout(config, module)
        parts = {part: stored[f"{module}.{part}"] for part in made_of.shapes(1, 1)}
        a, b = factors(parts, made_of)
        tensors[f"{module}.lora_A.weight"] = a.contiguous()
        tensors[f"{module}.lora_B.weight"] = b.contiguous()
        if made_of.use_dora:
            tensors[f"{module}.lora_magnitude_vector"] = parts["prolora_magnitude"]
    return tensors
