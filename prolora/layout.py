"""What is stored of a layer's two factors, and which number of a factor stands where: shapes alone, without torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar, get_args

from prolora.errors import PlanError
from prolora.plan import Setting

Axis = Literal["hidden", "rank"]
AXES: tuple[Axis, ...] = get_args(Axis)


T = TypeVar("T")
NUMBERS = ("r", "u", "m", "n")
PARTS = ("prolora_A_u", "prolora_A_0", "prolora_B_u", "prolora_B_0", "prolora_scale_u", "prolora_magnitude")
OPTIONS = ("rotate", "share_along", "rotate_along", "scale_unshared", "use_dora")


def of_pattern(patterns: Mapping[str, T], module: str, otherwise: T) -> T:
    """What the first pattern says that the end of a module's full name matches, by PEFT's rule for patterns."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), otherwise)


def chunk_width(width: int, shares: int) -> int:
    """What is stored of a width that is shared; a rate that does not divide it leaves an overhang."""
    return -(-width // shares)


@dataclass(frozen=True)
class Sharing:
    """How the (ranks, width) shared part of a factor is made of `shares` copies of one chunk.

    The method repeats the chunk along the hidden dimension and rolls each copy one step further along the
    rank dimension (Eq. 3). The other combinations are the siblings of the paper's Table 4; `rotate=None`
    repeats the chunk as it is (PRoLoRA^-r).
    """

    ranks: int
    width: int
    shares: int
    along: Axis = "hidden"
    rotate: Axis | None = "rank"

    @property
    def chunk(self) -> tuple[int, int]:
        """(ranks, width) of what is stored."""
        if self.along == "hidden":
            return self.ranks, chunk_width(self.width, self.shares)
        return chunk_width(self.ranks, self.shares), self.width

    @property
    def copies(self) -> int:
        """How many copies show at all: those that lie wholly in the overhang are never made, however many there are."""
        extent, chunk = (self.width, self.chunk[1]) if self.along == "hidden" else (self.ranks, self.chunk[0])
        return max(chunk_width(extent, max(chunk, 1)), 1)

    @property
    def step(self) -> int:
        """How far each copy is rolled past the one before it: the rolled extent divided among the copies."""
        if self.rotate is None:
            return 0
        return max(self.chunk[0 if self.rotate == "rank" else 1] // self.shares, 1)


@dataclass(frozen=True)
class Layout:
    """What one adapter stores on a layer: its setting and the options that change what is stored or where it goes."""

    setting: Setting
    rotate: bool = True
    share_along: Axis = "hidden"
    rotate_along: Axis = "rank"
    scale_unshared: bool = False
    use_dora: bool = False

    def __post_init__(self) -> None:
        for name in ("share_along", "rotate_along"):
            if getattr(self, name) not in AXES:
                raise PlanError(f"{name} must be one of {', '.join(AXES)}, not {getattr(self, name)!r}.")

    @classmethod
    def of(cls, config: Mapping[str, Any], module: str) -> Self:
        """The layout of one module by the fields of adapter_config.json; its own pattern comes first."""
        own = of_pattern(config.get("setting_pattern") or {}, module, {})
        if not isinstance(own, Mapping) or set(own) - set(NUMBERS):
            raise PlanError(f"setting_pattern may change {', '.join(NUMBERS)} of a module, not {own!r}.")
        setting = Setting(**{name: own.get(name, config.get(name)) for name in NUMBERS})
        return cls(setting, **{name: config[name] for name in OPTIONS if config.get(name) is not None})

    def a(self, inputs: int) -> Sharing:
        return self._sharing(inputs, self.setting.m)

    def b(self, outputs: int) -> Sharing:
        """Of B transposed, (rank, outputs), so that both factors are made alike."""
        return self._sharing(outputs, self.setting.n)

    def _sharing(self, width: int, shares: int) -> Sharing:
        return Sharing(self.setting.shared, width, shares, self.share_along, self.rotate_along if self.rotate else None)

    def shapes(self, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """Shape of each stored tensor by its name, as the file has it."""
        u = self.setting.u
        rows, width = self.b(outputs).chunk
        shapes: dict[str, tuple[int, ...]] = {
            "prolora_A_u": (u, inputs),
            "prolora_A_0": self.a(inputs).chunk,
            "prolora_B_u": (outputs, u),
            "prolora_B_0": (width, rows),
        }
        if self.scale_unshared:
            shapes["prolora_scale_u"] = (u,)
        if self.use_dora:
            shapes["prolora_magnitude"] = (outputs,)
        return shapes

    def wasted(self, inputs: int, outputs: int) -> list[str]:
        """Sentences on what of this layout serves nothing: copies that are alike, chunks that are cut away whole."""
        if not self.setting.shared:
            return []
        found = []
        rolled_by_rank = self.rotate and (self.share_along, self.rotate_along) == ("hidden", "rank")
        if rolled_by_rank and not self.setting.rolls_are_distinct:
            found.append(f"With {self.setting} some of the rolled copies are alike: fewer shares would serve as well.")
        for rate, sharing in ((self.setting.m, self.a(inputs)), (self.setting.n, self.b(outputs))):
            extent, chunk = (
                (sharing.width, sharing.chunk[1]) if self.share_along == "hidden" else (sharing.ranks, sharing.chunk[0])
            )
            if (rate - 1) * chunk >= extent:
                found.append(f"{rate} chunks of {chunk} are more than {extent} holds: some are cut away whole.")
        return found
