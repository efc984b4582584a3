"""The files of the paper's authors as compact PRoLoRA adapters, exactly: numbers are moved, never computed.

Their code (github.com/Forence1999/PRoLoRA, modules/chunkwise_sharing_LoRA.py) rolls the other way and puts the
unshared ranks last. Both are undone by reindexing the rows of A_0 and the columns of B_0 by k -> (-k) mod R. Its
parameters are lora_A.weight (R, ceil(h/m)), lora_B.weight (ceil(o/n), R), lora_A_vec (u, h) and lora_B_vec (u, o);
what it saves at the end is a LoRA of rank r with the factors written out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prolora.adapter_config import check_factors_alone, prolora_config
from prolora.adapter_file import WEIGHTS, AdapterError, read
from prolora.expansion import Sought, find, fold_back
from prolora.folder import aside, load_tensors, write_adapter
from prolora.layout import chunk_width
from prolora.lora_modules import MAGNITUDE, Module, by_module
from prolora.plan import Setting

BIN = "adapter_model.bin"


@dataclass(frozen=True)
class Converted:
    setting: Setting
    convention: str  # whose order of ranks the input had
    modules: int
    before: int  # parameters
    after: int


def to_compact(source: Path, target: Path, sought: Sought = Sought()) -> Converted:  # noqa: B008  frozen
    """Write the authors' checkpoint or an expansion, theirs or ours, as a compact PRoLoRA; raise if it is neither."""
    if not (source / WEIGHTS).exists() and (source / BIN).exists():
        raise AdapterError(
            f"{source} holds {BIN}, a pickle, which can run code when it is read. Save its tensors as {WEIGHTS} first; "
            "docs/conversions.md has the line that does it."
        )
    config = read(source).config
    if config["peft_type"] != "LORA":
        raise AdapterError(f"{source} is a compact PRoLoRA already.")
    check_factors_alone(config)
    modules, others = by_module(load_tensors(source))
    setting, convention, compact = _compact(config, modules, sought)
    tensors = others | {f"{name}.prolora_{part}": tensor for name, part, tensor in _rows(compact)}
    with aside(target) as folder:
        write_adapter(folder, prolora_config(config, setting), tensors)
    before, after = (sum(tensor.numel() for *_, tensor in _rows(each)) for each in (modules, compact))
    return Converted(setting, convention, len(modules), before, after)


def _compact(
    config: dict[str, Any], modules: dict[str, Module], sought: Sought
) -> tuple[Setting, str, dict[str, Module]]:
    if any("lora_A_vec" in parts for parts in modules.values()):
        setting = _setting_of_checkpoint(config, modules, sought)
        return setting, "the authors' checkpoint", {name: from_checkpoint(parts) for name, parts in modules.items()}
    factors = {name: (parts["lora_A.weight"], parts["lora_B.weight"]) for name, parts in modules.items()}
    setting, convention = find(factors, sought)
    compact = {name: fold_back(a, b, setting, convention) for name, (a, b) in factors.items()}
    for name, parts in modules.items():
        if MAGNITUDE in parts:
            compact[name]["magnitude"] = parts[MAGNITUDE]
    return setting, convention, compact


def from_checkpoint(parts: Module) -> Module:
    """A_u, A_0, B_u and B_0 of the authors' raw parameters of one layer."""
    chunk_a, chunk_b = parts["lora_A.weight"], parts["lora_B.weight"]
    backwards = -torch.arange(len(chunk_a)) % max(len(chunk_a), 1)
    return {
        "A_u": parts["lora_A_vec"],
        "A_0": chunk_a[backwards],
        "B_u": parts["lora_B_vec"].T,
        "B_0": chunk_b[:, backwards],
    }


def _rows(modules: dict[str, Module]) -> Iterator[tuple[str, str, Tensor]]:
    return ((name, part, tensor) for name, parts in modules.items() for part, tensor in parts.items())


def _setting_of_checkpoint(config: dict[str, Any], modules: dict[str, Module], sought: Sought) -> Setting:
    """The ranks are in the shapes; the rates too, unless several give chunks of the same width."""
    for name, parts in modules.items():
        ranks = {len(parts["lora_A.weight"]) + len(parts[vec]) for vec in ("lora_A_vec", "lora_B_vec")}
        if ranks != {config["r"]} or len(parts["lora_A.weight"]) != parts["lora_B.weight"].shape[1]:
            raise AdapterError(f"The parameters of {name} have not the rank r = {config['r']} of the configuration.")
    unshared = {len(parts["lora_A_vec"]) for parts in modules.values()}
    if len(unshared) > 1 or sought.u not in (None, *unshared):
        raise AdapterError(f"The file has u = {', '.join(map(str, sorted(unshared)))} unshared ranks.")
    (u,) = unshared
    if u == config["r"]:
        return Setting.lora(u)
    m = _rate("m", sought.m, [(p["lora_A_vec"].shape[1], p["lora_A.weight"].shape[1]) for p in modules.values()])
    n = _rate("n", sought.n, [(p["lora_B_vec"].shape[1], p["lora_B.weight"].shape[0]) for p in modules.values()])
    return Setting(config["r"], u, m, n)


def _rate(name: str, given: int | None, widths: list[tuple[int, int]]) -> int:
    """The rate that makes these chunks (second) of these widths (first)."""
    most = min(width for width, _ in widths)
    fitting = [rate for rate in range(1, most + 1) if all(chunk_width(full, rate) == chunk for full, chunk in widths)]
    if given is not None and given not in fitting:
        raise AdapterError(f"{name} = {given} does not make the chunks of this file; {fitting or 'no rate'} would.")
    if given is None and len(fitting) != 1:
        raise AdapterError(
            f"{name} cannot be told from the shapes: {fitting or 'no rate'} would make them. Give --{name}."
        )
    return given or fitting[0]
