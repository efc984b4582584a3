"""The memory of a run on a device: prolora.memory's formula, set right by what finished runs have taken.

A device holds what its libraries take, then what the formula counts times a ratio. Large runs tell the ratio; in small
ones everything that the formula does not count is the larger part, so they tell that part alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from prolora.base_models import Shapes
from prolora.budget import GIB
from prolora.memory import Kind, Memory, Training, attention_on, estimate
from prolora.methods import count
from prolora.plan import Plan

CPU = "cpu"  # the name of a device that is no card
# What no peak of a run shows: a card's context and the gaps between its blocks, or a process with its libraries.
SET_ASIDE: dict[Kind, int] = {"cuda": GIB, "cpu": GIB}
LARGE = 2 * GIB  # by the formula; from here on it is most of what a run takes
ROOMY = 0.9  # of a device; the rest is for what differs from run to run


class Verdict(StrEnum):
    FITS = "fits"
    TIGHT = "tight"
    TOO_LARGE = "does not fit"


@dataclass(frozen=True)
class Measured:
    """A run that has ended well: bytes by the formula, and at its highest point."""

    formula: int
    peak: int


@dataclass(frozen=True)
class Calibration:
    ratio: float = 1.0  # measured over formula
    besides: int = 0  # bytes of a run that the formula does not count
    large: int = 0  # runs that the ratio rests on
    small: int = 0  # runs that `besides` rests on

    @property
    def runs(self) -> int:
        return self.large + self.small

    def of(self, formula: int) -> int:
        return self.besides + round(self.ratio * formula)


@dataclass(frozen=True)
class Need:
    """What a run takes of its device, in the parts of the bar."""

    weights: int
    optimizer: int  # with the adapter itself
    gradients: int
    activations: int  # with what a step adds at its highest point
    libraries: int  # and whatever else the formula does not count

    @property
    def total(self) -> int:
        return self.weights + self.optimizer + self.gradients + self.activations + self.libraries

    def verdict(self, memory_bytes: int) -> Verdict:
        if self.total > memory_bytes:
            return Verdict.TOO_LARGE
        return Verdict.FITS if self.total <= ROOMY * memory_bytes else Verdict.TIGHT


def kind_of(device: str) -> Kind:
    return "cpu" if device == CPU else "cuda"


def calibrate(runs: Sequence[Measured]) -> Calibration:
    """Medians, so that one odd run moves nothing."""
    small = [run.peak - run.formula for run in runs if run.formula < LARGE]
    besides = max(round(median(small)), 0) if small else 0
    large = [max(run.peak - besides, 0) / run.formula for run in runs if run.formula >= LARGE]
    return Calibration(median(large) if large else 1.0, besides, len(large), len(small))


def formula(plan: Plan, shapes: Shapes, longest: int, device: str, gpus: int = 1) -> Memory:
    """Of each of the devices that a run uses, when its longest row has so many tokens."""
    parameters = count(plan.method, plan.setting, shapes, plan.target_modules)
    training = training_of(plan, longest, kind_of(device), gpus)
    return estimate(shapes, parameters, plan.setting.r, training, plan.target_modules)


def training_of(plan: Plan, longest: int, device: Kind, gpus: int = 1) -> Training:
    """The largest pass: the longest rows share one, as batches are grouped by length."""
    rows, length = plan.rows_at_once(gpus), max(min(longest, plan.max_length), 1)
    if plan.packing:  # whole rows in lines up to the cut-off, all of which but one are more than half full
        tokens = rows * length
        length = min(plan.max_length, tokens)
        rows = min(rows, 2 * tokens // length + 1)
    return Training(
        rows,
        length,
        plan.quantization,
        attention_on(device, plan.max_length),
        plan.gradient_checkpointing,
        plan.dropout,
        plan.method,
        device,
    )


def need(memory: Memory, device: str, calibration: Calibration) -> Need:
    ratio = calibration.ratio
    return Need(
        weights=round(ratio * memory.weights),
        optimizer=round(ratio * (memory.adapter + memory.optimizer)),
        gradients=round(ratio * memory.gradients),
        activations=round(ratio * (memory.activations + max(memory.logits, memory.working))),
        libraries=SET_ASIDE[kind_of(device)] + calibration.besides,
    )
