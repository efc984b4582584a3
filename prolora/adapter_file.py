"""An adapter's folder read without torch: its configuration, and names, shapes and dtypes of its tensors.

What is read is whole: every tensor that the configuration asks for is there, in its shape, and finite.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors import SafetensorError, safe_open

from prolora.adapter_fields import check_fields
from prolora.errors import PlanError, StudioError
from prolora.layout import Layout, of_pattern
from prolora.plan import Setting

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # what PEFT writes before the base's own names of modules
FORMAT = 1  # of adapter_config.json and the tensors beside it; docs/adapter-format.md says what it holds
# Per dtype of safetensors, the bits of the exponent: all of them set is infinity or no number at all.
EXPONENTS = {
    "F64": (np.uint64, 0x7FF0000000000000),
    "F32": (np.uint32, 0x7F800000),
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
}
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


class AdapterError(StudioError):
    """A folder that is not an adapter, or not one that can be converted."""


@dataclass(frozen=True)
class AdapterFile:
    config: dict[str, Any]
    shapes: dict[str, Shape]
    dtypes: tuple[str, ...]  # as safetensors writes them: F32, BF16, ...
    file_bytes: int

    @property
    def parameters(self) -> int:
        return sum(map(prod, self.shapes.values()))

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the adapted layers, as the file has them."""
        if self.config["peft_type"] == "PROLORA":
            return _modules(self.shapes)
        return tuple(key.removesuffix(".lora_A.weight") for key in self.shapes if key.endswith(".lora_A.weight"))

    @property
    def settings(self) -> dict[Setting, list[str]]:
        """The adapted layers by their setting; a LoRA is one whose ranks are all unshared."""
        found: dict[Setting, list[str]] = {}
        for module in self.modules:
            found.setdefault(self._setting(module), []).append(module)
        return found

    def _setting(self, module: str) -> Setting:
        if self.config["peft_type"] == "PROLORA":
            return layout(self.config, module).setting
        return Setting.lora(self.shapes[f"{module}.lora_A.weight"][0])


def read(folder: Path) -> AdapterFile:
    """Raises AdapterError when the folder holds no adapter of a known method, or one that is not whole."""
    config = read_config(folder)
    shapes, dtypes = header(folder / WEIGHTS)
    found = AdapterFile(config, shapes, dtypes, (folder / WEIGHTS).stat().st_size)
    if config["peft_type"] == "PROLORA":
        _check_prolora(config, shapes)
    else:
        _check_lora(found)
    _check_numbers(folder / WEIGHTS)
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration, if it is of a method and a version known here and its fields can be."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except OSError as error:
        raise AdapterError(f"There is no readable {CONFIG} in {folder}.") from error
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{folder / CONFIG} is not JSON: {error}. Copy it again.") from error
    method = config.get("peft_type") if isinstance(config, dict) else None
    if method not in ("PROLORA", "LORA"):
        raise AdapterError(f"{folder / CONFIG} describes an adapter of the type {method}, neither PROLORA nor LORA.")
    version = config.get("format_version", 1)
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise AdapterError(
            f"The format_version in {folder / CONFIG} is {version!r}; this prolora reads 1 to {FORMAT}. "
            "Install a newer one."
        )
    try:
        check_fields(config)
    except PlanError as error:
        raise AdapterError(f"{folder / CONFIG} cannot be: {error} Mend it, or save the adapter again.") from error
    return dict(config)


def layout(config: dict[str, Any], module: str) -> Layout:
    """What is stored of a module, which is named as the file names it."""
    try:
        return Layout.of(config, module.removeprefix(PREFIX))
    except PlanError as error:
        raise AdapterError(f"{CONFIG} cannot be: {error}") from error


def header(path: Path) -> tuple[dict[str, Shape], tuple[str, ...]]:
    """Shape of each tensor by its name, and all dtypes, of any safetensors file; no weights are read."""
    try:
        str(path).encode()
        path.open("rb").close()  # safetensors says of every file that it may not read that there is none
        with safe_open(path, framework="numpy") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
            return shapes, tuple(sorted({each.get_dtype() for each in slices.values()}))
    except UnicodeEncodeError as error:
        raise AdapterError(f"{path} has a name that is not UTF-8, which safetensors cannot open. Rename it.") from error
    except OSError as error:
        raise AdapterError(f"{path} cannot be read: {error}.") from error
    except SafetensorError as error:
        raise AdapterError(f"{path} is torn, or no safetensors file: {error}. Copy it again.") from error


def _modules(shapes: Shapes) -> tuple[str, ...]:
    """Of a PRoLoRA: whatever has any tensor of the method's, so that a missing part is noticed."""
    return tuple(dict.fromkeys(key.rpartition(".")[0] for key in shapes if ".prolora_" in key))


def _check_prolora(config: dict[str, Any], shapes: Shapes) -> None:
    modules = _modules(shapes)
    if not modules:
        raise AdapterError(f"{WEIGHTS} holds no tensor of a PRoLoRA. Save the adapter again.")
    for module in modules:
        _check_module(module, config, shapes)


def _check_module(module: str, config: dict[str, Any], shapes: Shapes) -> None:
    """Weights of another setting could unfold without complaint, to something else than was trained."""
    found = {key.rpartition(".")[2]: shape for key, shape in shapes.items() if key.startswith(f"{module}.prolora_")}
    for part in ("prolora_A_u", "prolora_B_u"):
        if len(found.get(part, ())) != 2:
            raise AdapterError(f"{module} lacks {part} with two dimensions. Save the adapter again.")
    expected = layout(config, module).shapes(found["prolora_A_u"][1], found["prolora_B_u"][0])
    for part in expected | found:
        if part not in found:
            raise AdapterError(f"{module} lacks {part}. Save the adapter again.")
        if part not in expected:
            raise AdapterError(f"{module}.{part} is there, and the configuration has no place for it.")
        if found[part] != expected[part]:
            raise AdapterError(
                f"{module}.{part} has the shape {found[part]}; the configuration asks for {expected[part]}."
            )


def _check_lora(found: AdapterFile) -> None:
    shapes = found.shapes
    if not any(map(_is_part, shapes)):
        raise AdapterError(f"{WEIGHTS} holds no factors of a LoRA. Save the adapter again.")
    orphans = {
        key for key in shapes if key.endswith(".lora_B.weight") and key.replace(".lora_B.", ".lora_A.") not in shapes
    }
    if orphans:
        raise AdapterError(f"{min(orphans)} has no lora_A.weight beside it. Save the adapter again.")
    for module in found.modules:
        a, b = shapes[f"{module}.lora_A.weight"], shapes.get(f"{module}.lora_B.weight")
        if b is None:
            raise AdapterError(f"{module} lacks lora_B.weight. Save the adapter again.")
        if min(len(a), len(b)) < 2:
            raise AdapterError(f"{module} has factors of the shapes {a} and {b}, and a factor has two dimensions.")
        _check_rank(module, found)
        if len(a) == len(b) == 2 and a[0] != b[1]:
            raise AdapterError(f"{module}.lora_B.weight has the shape {b}; its lora_A.weight {a} asks for (…, {a[0]}).")
        _check_magnitude(module, found)


def _check_magnitude(module: str, found: AdapterFile) -> None:
    """DoRA without its lengths, or lengths without DoRA, would answer as another adapter."""
    magnitude = next((key for key in found.shapes if key.startswith(f"{module}.lora_magnitude_vector")), None)
    if bool(found.config.get("use_dora")) != (magnitude is not None):
        there = "lacks" if magnitude is None else "has"
        raise AdapterError(f"{module} {there} lora_magnitude_vector, and use_dora is {magnitude is None} in {CONFIG}.")
    outputs = found.shapes[f"{module}.lora_B.weight"][0]
    if magnitude and prod(found.shapes[magnitude]) != outputs:
        raise AdapterError(f"{magnitude} has the shape {found.shapes[magnitude]}; lora_B.weight asks for ({outputs},).")


def _check_rank(module: str, found: AdapterFile) -> None:
    """The rank scales the update, so one that is not the factors' own would load and answer wrongly."""
    if found.config.get("target_parameters") or f"{module}.lora_A_vec" in found.shapes:
        return  # several experts in one factor, or the chunk of the authors' checkpoint
    rank = of_pattern(found.config.get("rank_pattern") or {}, module.removeprefix(PREFIX), found.config["r"])
    if found.shapes[f"{module}.lora_A.weight"][0] != rank:
        shape = found.shapes[f"{module}.lora_A.weight"]
        raise AdapterError(f"{module}.lora_A.weight has the shape {shape}; the configuration asks for rank {rank}.")


def _is_part(key: str) -> bool:
    """A tensor of an adapter's own, and not one of the base's that was trained whole."""
    return "lora_" in key  # as in prolora_ too


def _check_numbers(path: Path) -> None:
    """By the bits, since numpy has no bfloat16."""
    for name, tensor in safetensors.deserialize(path.read_bytes()):  # type: ignore[no-untyped-call]
        if _is_part(name) and tensor["dtype"] not in EXPONENTS:
            raise AdapterError(f"{name} holds {tensor['dtype']}; an adapter holds {', '.join(EXPONENTS)}. Save it so.")
        kind, exponent = EXPONENTS.get(tensor["dtype"], (np.uint8, 0))
        if exponent and ((np.frombuffer(tensor["data"], kind) & kind(exponent)) == exponent).any():
            raise AdapterError(f"{name} has numbers that are not finite, so the adapter cannot answer. Train it again.")
