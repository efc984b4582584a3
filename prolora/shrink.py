"""A trained LoRA as the nearest PRoLoRA of a setting or a budget, with the error that is left, module by module."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import torch

from prolora.adapter_config import check_factors_alone, prolora_config, scaling
from prolora.adapter_file import PREFIX, AdapterError, Shape
from prolora.alternating import Fit, Product, nearest
from prolora.base_models import Linear, Shapes
from prolora.budget import count, parse_budget
from prolora.export import as_lora
from prolora.folder import aside, write_adapter
from prolora.layout import Layout
from prolora.lora_modules import MAGNITUDE, Module, by_module
from prolora.plan import Setting
from prolora.planner import Facts, suggest


@dataclass(frozen=True)
class ModuleError:
    module: str
    error: float  # ||B_l A_l - B A|| over ||B_l A_l||, Frobenius, the scaling included
    size: float  # ||B_l A_l||
    sweeps: int


@dataclass(frozen=True)
class Shrunk:
    setting: Setting
    modules: tuple[ModuleError, ...]
    before: int  # parameters of the factors
    after: int

    @property
    def error(self) -> float:
        """Of all updates taken together as one vector."""
        whole = sum(each.size**2 for each in self.modules)
        return sqrt(sum((each.error * each.size) ** 2 for each in self.modules) / whole) if whole else 0.0


def to_nearest(
    source: Path, target: Path, wanted: Setting | str, progress: Callable[[str], None] = lambda _: None
) -> Shrunk:
    """Write the PRoLoRA of this setting, or of this budget as a person writes it, that is nearest to the adapter."""
    config, tensors = as_lora(source)
    check_factors_alone(config)
    modules, others = by_module(tensors)
    if idle := [name for name in modules if not scaling(config, name)]:
        raise AdapterError(f"lora_alpha of {idle[0]} is 0, so the adapter adds nothing that another could be near to.")
    setting = wanted if isinstance(wanted, Setting) else _of_budget(wanted, modules)
    _check_widths(setting, modules)
    after = prolora_config(config, setting)
    found: list[ModuleError] = []
    for name, parts in modules.items():
        fit, size = _fit(parts, scaling(config, name) / scaling(after, name), setting)
        others |= _stored(name, parts, fit)
        found.append(ModuleError(name.removeprefix(PREFIX), fit.error, size * scaling(after, name), fit.sweeps))
        progress(f"{len(found)} of {len(modules)}: {found[-1].module} is {fit.error:.2%} away")
    shapes = shapes_of(modules)
    done = Shrunk(setting, tuple(found), _parameters(modules), count(setting, shapes))
    with aside(target) as folder:
        write_adapter(folder, after, others, {"relative_error": f"{done.error:.6g}"})
    return done


def _fit(parts: Module, scale: float, setting: Setting) -> tuple[Fit, float]:
    """The fit, and the length of what it is to be near to."""
    product = Product(parts["lora_B.weight"].double() * scale, parts["lora_A.weight"].double())
    size = torch.linalg.norm(torch.linalg.qr(product.b).R @ torch.linalg.qr(product.a.T).R.T)
    return nearest(product, Layout(setting)), float(size)


def _stored(name: str, parts: Module, fit: Fit) -> Module:
    dtype = parts["lora_A.weight"].dtype
    tensors = {"A_u": fit.a.unshared, "A_0": fit.a.chunk, "B_u": fit.b.unshared.T, "B_0": fit.b.chunk.T}
    stored = {f"{name}.prolora_{part}": tensor.to(dtype) for part, tensor in tensors.items()}
    if MAGNITUDE in parts:
        stored[f"{name}.prolora_magnitude"] = parts[MAGNITUDE]
    return stored


def _check_widths(setting: Setting, modules: dict[str, Module]) -> None:
    """Beyond the widths nothing more is gained, and what has to be held has no bound."""
    inputs = [parts["lora_A.weight"].shape[1] for parts in modules.values()]
    outputs = [len(parts["lora_B.weight"]) for parts in modules.values()]
    for name, most in (("r", max(inputs + outputs)), ("m", min(inputs)), ("n", min(outputs))):
        if getattr(setting, name) > most:
            raise AdapterError(f"{name} = {getattr(setting, name)} is more than the layers have room for: {most}.")


def _of_budget(text: str, modules: dict[str, Module]) -> Setting:
    """The planner's first choice for the shapes of the adapter itself."""
    shapes = shapes_of(modules)
    budget, whole = parse_budget(text, shapes), _parameters(modules)
    if budget >= whole:
        raise AdapterError(f"The adapter has {whole:,} parameters already; a budget of {budget:,} shrinks nothing.")
    return suggest(Facts(shapes, budget)).prolora[0].setting


def shapes_of(modules: dict[str, Module]) -> Shapes:
    """The widths of the adapted layers, as the planner has them of a base."""
    kinds = Counter(_kind(name, parts) for name, parts in modules.items())
    linears = tuple(Linear(name, inputs, outputs, times) for (name, (inputs, outputs)), times in kinds.items())
    weights = sum(linear.weights * times for linear, times in zip(linears, kinds.values(), strict=True))
    return Shapes(layers=1, hidden=min(each.inputs for each in linears), linears=linears, base_parameters=weights)


def _kind(name: str, parts: Module) -> tuple[str, Shape]:
    return name.rpartition(".")[2], (parts["lora_A.weight"].shape[1], len(parts["lora_B.weight"]))


def _parameters(modules: dict[str, Any]) -> int:
    return sum(parts[each].numel() for parts in modules.values() for each in ("lora_A.weight", "lora_B.weight"))
