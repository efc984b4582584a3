"""An adapter's folder read without torch: its configuration, and names, shapes and dtypes of its tensors."""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from prolora.errors import PlanError, StudioError
from prolora.layout import PARTS, Layout

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class AdapterError(StudioError):
    """A folder that is not an adapter, or not one that can be exported."""


@dataclass(frozen=True)
class AdapterFile:
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    dtypes: tuple[str, ...]  # as safetensors writes them: F32, BF16, ...
    file_bytes: int

    @property
    def parameters(self) -> int:
        return sum(map(prod, self.shapes.values()))

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the adapted layers of a PRoLoRA."""
        return tuple(key.removesuffix(".prolora_A_u") for key in self.shapes if key.endswith(".prolora_A_u"))


def read(folder: Path) -> AdapterFile:
    """Raises AdapterError when the folder holds no adapter of a known method, or one that is not whole."""
    config = read_config(folder)
    shapes, dtypes = _header(folder / WEIGHTS)
    found = AdapterFile(config, shapes, dtypes, (folder / WEIGHTS).stat().st_size)
    if config["peft_type"] == "PROLORA":
        for module in found.modules:
            _check(module, config, shapes)
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration, if it is of a method known here."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except OSError as error:
        raise AdapterError(f"There is no readable {CONFIG} in {folder}.") from error
    except ValueError as error:
        raise AdapterError(f"{folder / CONFIG} is not JSON: {error}.") from error
    method = config.get("peft_type") if isinstance(config, dict) else None
    if method not in ("PROLORA", "LORA"):
        raise AdapterError(f"{folder / CONFIG} describes an adapter of the type {method}, neither PROLORA nor LORA.")
    return dict(config)


def layout(config: dict[str, Any], module: str) -> Layout:
    try:
        return Layout.of(config, module)
    except PlanError as error:
        raise AdapterError(f"{CONFIG} cannot be: {error}") from error


def _header(path: Path) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    try:
        with safe_open(path, framework="numpy") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
            return shapes, tuple(sorted({each.get_dtype() for each in slices.values()}))
    except OSError as error:
        raise AdapterError(f"{path} cannot be read: {error}.") from error
    except SafetensorError as error:
        raise AdapterError(f"{path} is torn, or no safetensors file: {error}. Copy it again.") from error


def _check(module: str, config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    found = {part: shapes[f"{module}.{part}"] for part in PARTS if f"{module}.{part}" in shapes}
    if len(found.get("prolora_A_u", ())) != 2 or len(found.get("prolora_B_u", ())) != 2:
        raise AdapterError(f"{module} lacks prolora_A_u or prolora_B_u with two dimensions. Save the adapter again.")
    expected = layout(config, module).shapes(found["prolora_A_u"][1], found["prolora_B_u"][0])
    for part in expected | found:
        if found.get(part) != expected.get(part):
            raise AdapterError(
                f"{module}.{part} has the shape {found.get(part)}; the configuration asks for {expected.get(part)}."
            )
