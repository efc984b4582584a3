"""Budgets: what a setting costs, and the ways a person writes a number of parameters."""

import re
from collections.abc import Iterable
from decimal import Decimal

from prolora.base_models import Shapes
from prolora.errors import PlanError
from prolora.plan import Setting

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SCALES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9}
GIB = 2**30
Targets = tuple[str, ...] | None  # names of modules; None is all that the base has
THIN_SPACE = "\u2009"
BYTE_UNITS = {
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "byte": 1,
    "bytes": 1,
}
HOW = (
    "Write a number of parameters such as 5M or 4,997,120, the LoRA rank to match such as “rank 8”, a size such as "
    "“40 MB” or “19 MiB”, or “500 adapters in 20 GiB”."
)


def check_targets(shapes: Shapes, target_modules: tuple[str, ...]) -> None:
    """Raise for the name of a module that the base does not have."""
    if set(target_modules) - set(shapes.modules):
        raise PlanError(f"Target modules must be among {', '.join(shapes.modules)}.")


def chunk_cost(shapes: Shapes, target_modules: Targets, m: int, n: int) -> int:
    """Parameters of one shared rank over all modules; widths that m or n do not divide are rounded up."""
    return sum(
        shapes.times(each) * (-(-each.inputs // m) - (-each.outputs // n)) for each in shapes.targets(target_modules)
    )


def count(setting: Setting, shapes: Shapes, target_modules: Targets = None) -> int:
    """Trainable parameters: u(h + o) + R(ceil(h/m) + ceil(o/n)), over all modules."""
    shared = chunk_cost(shapes, target_modules, setting.m, setting.n)
    return setting.u * shapes.lora_unit(target_modules) + setting.shared * shared


def keeps_every_chunk(rate: int, widths: Iterable[int]) -> bool:
    """No chunk lies wholly in the overhang that is cut off the end of a width."""
    return all((rate - 1) * -(-width // rate) < width for width in widths)


def usable_rates(shapes: Shapes, target_modules: Targets = None, most: int = 512) -> list[int]:
    """The sharing rates m = n that share anything and cut no chunk away whole."""
    targets = shapes.targets(target_modules)
    widths = {width for linear in targets for width in (linear.inputs, linear.outputs)}
    return [rate for rate in range(2, min(most, min(widths)) + 1) if keeps_every_chunk(rate, widths)]


def smallest(shapes: Shapes, target_modules: Targets = None) -> int:
    """The cheapest PRoLoRA: no unshared rank, and as many shared ones as its rolls need to differ."""
    rates = usable_rates(shapes, target_modules)
    if not rates:
        raise PlanError("The target modules are too narrow to share anything. Choose LoRA, or a wider base model.")
    return min(count(Setting(rate, 0, rate, rate), shapes, target_modules) for rate in rates)


def largest(shapes: Shapes) -> int:
    """Full fine-tuning: every parameter of the base."""
    return shapes.base_parameters


def bytes_of(parameters: int, dtype: str = "float32") -> int:
    """Bytes of the tensors on disk; a safetensors file adds a header of a few kilobytes."""
    if dtype not in DTYPE_BYTES:
        raise PlanError(f"Adapters are stored as {', '.join(DTYPE_BYTES)}, not as {dtype}.")
    return parameters * DTYPE_BYTES[dtype]


def parse_budget(text: str, shapes: Shapes, target_modules: Targets = None, dtype: str = "float32") -> int:
    """Parameters meant by "5M", "5,000,000", "rank 8", "40 MB", "19 MiB" or "500 adapters in 20 GiB".

    Bytes are those of the stored dtype, and as many whole parameters as fit into them.
    """
    plain = re.sub(r"\s", " ", text).strip().lower()
    if rank := re.fullmatch(r"(?:lora *)?(?:rank|r) *[=:]? *([0-9]{1,6})", plain):
        check_targets(shapes, target_modules or ())
        return _at_least_one(int(rank[1]) * shapes.lora_unit(target_modules), text)
    if shared := re.fullmatch(r"([0-9].*[0-9]|[0-9]) *adapters? *(?:in|on|per) *(.+)", plain):
        adapters, card = _quantity(shared[1], {"": 1}, text), _quantity(shared[2], BYTE_UNITS, text)
        if adapters < 1 or adapters % 1:
            raise PlanError(f"“{text.strip()[:40]}” names no whole number of adapters. {HOW}")
        return _at_least_one(int(card // adapters) // bytes_of(1, dtype), text)
    if plain.endswith(("byte", "bytes")) or re.search("[kmg]i?b$", plain):
        return _at_least_one(int(_quantity(plain, BYTE_UNITS, text)) // bytes_of(1, dtype), text)
    return _at_least_one(round(_quantity(re.sub(" *param(eter)?s?$", "", plain), SCALES, text)), text)


def _quantity(plain: str, units: dict[str, int], text: str) -> Decimal:
    """A number and its unit; thousands may be grouped by commas, underscores or spaces (thin ones too)."""
    number = re.fullmatch(r"([0-9]{1,3}([,_ ])[0-9]{3}(?:\2[0-9]{3})*|[0-9]{1,15})(\.[0-9]{1,15})? *([a-z]*)", plain)
    if not number or number[4] not in units:
        raise PlanError(f"“{text.strip()[:40]}” is not a budget. {HOW}")
    return Decimal(re.sub(r"[,_ ]", "", number[1]) + (number[3] or "")) * units[number[4]]


def is_capped(text: str) -> bool:
    """A card that so many adapters must share has no room to overdraw."""
    return "adapter" in text.lower()


def parse_tolerance(text: str) -> float:
    """Read "0.5%" or "0.5 %" as 0.005."""
    number = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,9})?) *%", text.strip())
    if not number:
        raise PlanError(f"“{text.strip()[:40]}” is not a tolerance. Write a share of the budget such as 0.5%.")
    return float(Decimal(number[1]) / 100)


def _at_least_one(value: int, text: str) -> int:
    if value < 1:
        raise PlanError(f"A budget must be above 0, not “{text.strip()[:40]}”. {HOW}")
    return value


def grouped(value: int) -> str:
    """19 998 080, with thin spaces."""
    return f"{value:,}".replace(",", THIN_SPACE)


def short(parameters: int) -> str:
    """19.99M, 155.6k: a count in few characters."""
    for scale, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if parameters >= scale:
            digits = 1 if letter == "k" else 2
            return f"{parameters / scale:.{digits}f}{letter}"
    return str(parameters)


def megabytes(size_bytes: int) -> str:
    """Megabytes of 10^6 bytes."""
    if size_bytes < 10**5:
        return f"{size_bytes / 10**3:.1f}{THIN_SPACE}kB"
    return f"{size_bytes / 10**6:.1f}{THIN_SPACE}MB"


def adapters_in(size_bytes: int, gib: int = 20) -> int:
    """How many adapters of this size fit into so many GiB."""
    return gib * GIB // size_bytes
