"""A PRoLoRA adapter as a plain PEFT LoRA, exactly: the factors are unfolded, which only copies numbers."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import safetensors
import safetensors.torch
from torch import Tensor

from prolora.adapter_file import CONFIG, WEIGHTS, AdapterError, read_config
from prolora.adapter_file import layout as layout_of
from prolora.factor import unfold
from prolora.layout import PARTS, Layout

# Fields that mean the same to both methods.
COMMON = (
    "base_model_name_or_path",
    "bias",
    "exclude_modules",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "r",
    "revision",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
)


def content_hash(folder: Path) -> str:
    """What an adapter is, whatever it is called and wherever it lies."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        with _open(folder / name) as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def to_lora(source: Path, target: Path) -> Path:
    """Write the adapter in `source` as a plain LoRA folder; one that is a LoRA already is copied."""
    if target.exists():
        raise AdapterError(f"{target} exists already; an adapter is never written over.")
    config = read_config(source)
    with _aside(target) as folder:
        if config["peft_type"] == "LORA":
            for name in (CONFIG, WEIGHTS):
                shutil.copyfile(source / name, folder / name)
        else:
            _write_lora(config, source / WEIGHTS, folder)
    return target


def lora_config(config: dict[str, Any]) -> dict[str, Any]:
    """PEFT's configuration of the LoRA that a PRoLoRA adapter unfolds to."""
    common = {name: config[name] for name in COMMON if name in config}
    if common.get("bias") == "prolora_only":
        common["bias"] = "lora_only"
    ranks = {key: own["r"] for key, own in (config.get("setting_pattern") or {}).items() if "r" in own}
    return common | {
        "peft_type": "LORA",
        "inference_mode": True,
        "init_lora_weights": True,
        "fan_in_fan_out": False,
        "rank_pattern": ranks,
        "alpha_pattern": config.get("alpha_pattern") or {},
    }


def lora_tensors(config: dict[str, Any], stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The full factors under PEFT's names for LoRA; tensors that are no adapter's pass unchanged."""
    tensors = {name: tensor for name, tensor in stored.items() if ".prolora_" not in name}
    for module in (name.removesuffix(".prolora_A_u") for name in stored if name.endswith(".prolora_A_u")):
        layout = layout_of(config, module)
        parts = {part: stored[f"{module}.{part}"] for part in layout.shapes(1, 1)}
        _check_shapes(module, layout, tuple(parts.values()))
        a_u, a_0, b_u, b_0 = (parts[part] for part in PARTS[:4])
        inputs, outputs = a_u.shape[1], b_u.shape[0]
        if layout.scale_unshared:
            a_u = parts["prolora_scale_u"][:, None] * a_u
        if layout.use_dora:
            tensors[f"{module}.lora_magnitude_vector"] = parts["prolora_magnitude"]
        tensors[f"{module}.lora_A.weight"] = unfold(a_u, a_0, layout.a(inputs)).contiguous()
        tensors[f"{module}.lora_B.weight"] = unfold(b_u.T, b_0.T, layout.b(outputs)).T.contiguous()
    return tensors


def _check_shapes(module: str, layout: Layout, tensors: tuple[Tensor, ...]) -> None:
    """Weights of another setting could unfold without complaint, to something else than was trained."""
    expected = list(layout.shapes(tensors[0].shape[1], tensors[2].shape[0]).values())
    found = [tuple(tensor.shape) for tensor in tensors]
    if found != expected:
        raise AdapterError(f"The weights of {module} have the shapes {found}; {layout.setting} asks for {expected}.")


def _write_lora(config: dict[str, Any], weights: Path, folder: Path) -> None:
    try:
        tensors = lora_tensors(config, safetensors.torch.load_file(weights))
    except KeyError as error:
        raise AdapterError(f"The adapter in {weights.parent} lacks {error}.") from error
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise AdapterError(f"{weights} is not a whole PRoLoRA adapter: {error}.") from error
    (folder / CONFIG).write_text(json.dumps(lora_config(config), indent=2, sort_keys=True))
    # Not save_file: it leaves a file that only its owner can read, and servers run as somebody else.
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(tensors, metadata={"format": "pt"}))


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """A folder beside `target` that becomes it when all went well; a dot keeps it from being served."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.parent / f".{target.name}.{uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
        for path in (*folder.iterdir(), folder):
            _fsync(path)
        folder.rename(target)
        _fsync(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise AdapterError(f"There is no readable {path.name} in {path.parent}.") from error
