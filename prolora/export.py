"""A PRoLoRA adapter as a plain PEFT LoRA, exactly: the factors are unfolded, which only copies numbers."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import safetensors
import safetensors.torch
from torch import Tensor

from prolora.errors import StudioError
from prolora.factor import chunk_width, stride, unfold
from prolora.plan import Setting

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
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
    "use_rslora",
)


class AdapterError(StudioError):
    """A folder that is not an adapter, or not one that can be exported."""


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


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration, if it is of a method known here."""
    with _open(folder / CONFIG) as file:
        try:
            config = json.load(file)
        except ValueError as error:
            raise AdapterError(f"{folder / CONFIG} is not JSON: {error}.") from error
    method = config.get("peft_type") if isinstance(config, dict) else None
    if method not in ("PROLORA", "LORA"):
        raise AdapterError(f"{folder / CONFIG} describes an adapter of the type {method}, neither PROLORA nor LORA.")
    return dict(config)


def lora_config(config: dict[str, Any]) -> dict[str, Any]:
    """PEFT's configuration of the LoRA that a PRoLoRA adapter unfolds to."""
    common = {name: config[name] for name in COMMON if name in config}
    if common.get("bias") == "prolora_only":
        common["bias"] = "lora_only"
    return common | {"peft_type": "LORA", "inference_mode": True, "init_lora_weights": True, "fan_in_fan_out": False}


def lora_tensors(config: dict[str, Any], stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The full factors under PEFT's names for LoRA; tensors that are no adapter's pass unchanged."""
    setting = _setting(config)
    rotate = config.get("rotate", True)
    tensors = {name: tensor for name, tensor in stored.items() if ".prolora_" not in name}
    for module in (name.removesuffix(".prolora_A_u") for name in stored if name.endswith(".prolora_A_u")):
        a_u, a_0, b_u, b_0 = (stored[f"{module}.prolora_{part}"] for part in ("A_u", "A_0", "B_u", "B_0"))
        _check_shapes(module, setting, a_u, a_0)
        _check_shapes(module, replace(setting, m=setting.n), b_u.T, b_0.T)
        a_step, b_step = (stride(setting.shared, rate) if rotate else 0 for rate in (setting.m, setting.n))
        tensors[f"{module}.lora_A.weight"] = unfold(a_u, a_0, setting.m, a_step).contiguous()
        tensors[f"{module}.lora_B.weight"] = unfold(b_u.T, b_0.T, setting.n, b_step).T.contiguous()
    return tensors


def _setting(config: dict[str, Any]) -> Setting:
    values: list[Any] = [config.get(name) for name in ("r", "u", "m", "n")]
    if not all(type(value) is int for value in values):
        raise AdapterError(f"r, u, m and n of an adapter are whole numbers; {CONFIG} has {values}.")
    return Setting(*values)


def _check_shapes(module: str, setting: Setting, unshared: Tensor, chunk: Tensor) -> None:
    """Weights of another setting could unfold without complaint, to something else than was trained."""
    width = unshared.shape[1]
    expected = [(setting.u, width), (setting.shared, chunk_width(width, setting.m))]
    found = [tuple(unshared.shape), tuple(chunk.shape)]
    if found != expected:
        raise AdapterError(f"The weights of {module} have the shapes {found}; {setting} asks for {expected}.")


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
