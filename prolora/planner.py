"""A budget becomes settings (r, u, m, n), ranked by what the paper's runs showed, and a LoRA of equal size.

m = n throughout: other pairs are defined, but nothing shows that they do better.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prolora.base_models import Shapes
from prolora.budget import bytes_of, chunk_cost, count, grouped, largest, short, smallest, usable_rates
from prolora.errors import PlanError
from prolora.plan import Setting

CHOICES = 5
MAX_RANK = 512  # vLLM serves no adapter above it
NARROW = 2048  # under this hidden size, widths that m does not divide miss by 0.2 to 0.6 %
Numbers = NDArray[np.int64]


class BudgetTooSmall(PlanError):  # noqa: N818
    """No setting is that small."""


class BudgetTooLarge(PlanError):  # noqa: N818
    """Full fine-tuning trains fewer parameters."""


@dataclass(frozen=True)
class Facts:
    shapes: Shapes
    budget: int  # parameters
    target_modules: tuple[str, ...] = ()  # none named: all that the base has
    tolerance: float | None = None  # relative; None: 0.1 %, or 1 % for narrow models
    divisible: bool = False  # only sharing rates that divide every width
    dtype: str = "float32"
    hard_cap: bool = False  # not one parameter above the budget

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise PlanError(f"A budget must be at least 1 parameter, not {self.budget}.")
        if not 0 <= self.spread <= 0.05:
            raise PlanError(f"The tolerance must lie between 0 and 5 %, not {self.spread:.1%}.")
        if not self.target_modules:
            object.__setattr__(self, "target_modules", self.shapes.modules)
        if set(self.target_modules) - set(self.shapes.modules):
            raise PlanError(f"Target modules must be among {', '.join(self.shapes.modules)}.")
        bytes_of(self.budget, self.dtype)  # refuses an unknown dtype

    @property
    def spread(self) -> float:
        if self.tolerance is not None:
            return self.tolerance
        return 0.01 if self.shapes.hidden < NARROW else 0.001

    @property
    def unit(self) -> int:
        return self.shapes.lora_unit(self.target_modules)

    @property
    def rho(self) -> float:
        """The rank of the LoRA of equal budget; whole when that LoRA lies within the tolerance."""
        whole = round(self.budget / self.unit)
        near = abs(whole * self.unit - self.budget) <= self.spread * self.budget
        return whole if near else self.budget / self.unit


@dataclass(frozen=True)
class Suggestion:
    setting: Setting
    parameters: int
    size_bytes: int
    reason: str
    gap: float  # relative to the budget; negative: below it
    divides: bool  # m and n divide every width


@dataclass(frozen=True)
class Suggestions:
    prolora: tuple[Suggestion, ...]  # best first, never empty
    lora: Suggestion
    note: str  # what holds for all of them


@dataclass(frozen=True)
class Candidates:
    """Columns of equal length: one setting (u + R, u, m, m) a row."""

    shared: Numbers  # R
    unshared: Numbers
    rate: Numbers
    parameters: Numbers

    def pick(self, rows: NDArray[np.bool_] | Numbers) -> "Candidates":
        return Candidates(self.shared[rows], self.unshared[rows], self.rate[rows], self.parameters[rows])


def suggest(facts: Facts) -> Suggestions:
    """The best settings that keep the budget, with a reason each, and the equal-budget LoRA."""
    _refuse_the_impossible(facts)
    found, note = _within(facts), _note(facts)
    if not len(found.rate):
        found = _nearest_below(facts)
        note += f" Nothing lies within {facts.spread:.1%} of the budget, so these are the nearest below it."
    best = found.pick(_order(found, facts)[:CHOICES])
    rows = zip(best.shared.tolist(), best.unshared.tolist(), best.rate.tolist(), strict=True)
    settings = [Setting(shared + unshared, unshared, rate, rate) for shared, unshared, rate in rows]
    return Suggestions(tuple(_suggestion(setting, facts) for setting in settings), _twin(facts), note)


def _refuse_the_impossible(facts: Facts) -> None:
    full = largest(facts.shapes)
    if facts.budget > full:
        raise BudgetTooLarge(
            f"A budget of {grouped(facts.budget)} parameters is more than full fine-tuning trains ({grouped(full)}). "
            "Choose a smaller one."
        )
    least = smallest(facts.shapes, facts.target_modules)
    if facts.rho < 1 or (_ceiling(facts) < least):
        raise BudgetTooSmall(
            f"A budget of {grouped(facts.budget)} parameters is too small: "
            f"the smallest PRoLoRA for this base has {grouped(least)}. Choose at least that."
        )


def _ceiling(facts: Facts) -> int:
    return facts.budget if facts.hard_cap else facts.budget + int(facts.budget * facts.spread)


def _grid(facts: Facts) -> tuple[Numbers, Numbers, Numbers]:
    """Every (R, m) whose m rolls differ, which is R >= m, and what the chunk costs."""
    rates = usable_rates(facts.shapes, facts.target_modules, MAX_RANK)
    if facts.divisible:
        rates = [rate for rate in rates if _divides(rate, facts)]
    per_rank = np.array([chunk_cost(facts.shapes, facts.target_modules, rate, rate) for rate in rates], dtype=np.int64)
    rate, shared = np.meshgrid(np.array(rates, dtype=np.int64), np.arange(1, MAX_RANK + 1, dtype=np.int64))
    cost = shared * per_rank
    kept = (shared >= rate) & (cost <= _ceiling(facts))
    return shared[kept], rate[kept], cost[kept]


def _within(facts: Facts) -> Candidates:
    """All settings within the tolerance: for each chunk, the unshared ranks that fill the rest."""
    shared, rate, cost = _grid(facts)
    low, high = facts.budget - int(facts.budget * facts.spread), _ceiling(facts)
    fewest = np.maximum(-((cost - low) // facts.unit), 0)
    most = np.minimum((high - cost) // facts.unit, MAX_RANK - shared)
    times = np.maximum(most - fewest + 1, 0)
    row = np.repeat(np.arange(len(times)), times)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
    unshared = fewest[row] + nth
    return Candidates(shared[row], unshared, rate[row], cost[row] + unshared * facts.unit)


def _nearest_below(facts: Facts) -> Candidates:
    shared, rate, cost = _grid(facts)
    unshared = np.minimum((facts.budget - cost) // facts.unit, MAX_RANK - shared)
    found = Candidates(shared, unshared, rate, cost + unshared * facts.unit).pick(unshared >= 0)
    if not len(found.rate):
        raise BudgetTooSmall(
            f"No setting {'whose rates divide every width ' if facts.divisible else ''}"
            f"fits {grouped(facts.budget)} parameters. Raise the budget or allow other settings."
        )
    return found.pick(found.parameters == found.parameters.max())


def _order(found: Candidates, facts: Facts) -> Numbers:
    """Row numbers, best first, by the evidence in the paper; numpy's last key weighs most."""
    rho, rank = facts.rho, found.shared + found.unshared
    dividing = [_divides(rate, facts) for rate in range(int(found.rate.max()) + 1)]
    order: Numbers = np.lexsort(
        (
            found.rate,
            np.abs(found.parameters - facts.budget),
            ~np.array(dividing)[found.rate],
            np.abs(found.unshared - rho / 2),
            found.shared % found.rate != 0,
            np.abs(rank - 4 * rho),
            _standing(found.unshared, rho),
        )
    )
    return order


def _standing(unshared: Numbers, rho: float) -> Numbers:
    """0: a share of unshared ranks that beat LoRA; 1: another share; 2: none unshared, which lost to LoRA."""
    proven = (unshared >= 0.5 * rho) & (unshared <= 0.875 * rho)
    return np.where(unshared == 0, 2, np.where(proven, 0, 1))


def _divides(rate: int, facts: Facts) -> bool:
    targets = facts.shapes.targets(facts.target_modules)
    return rate > 0 and all(linear.inputs % rate == 0 and linear.outputs % rate == 0 for linear in targets)


def _suggestion(setting: Setting, facts: Facts) -> Suggestion:
    parameters = count(setting, facts.shapes, facts.target_modules)
    divides = _divides(setting.m, facts)
    return Suggestion(
        setting=setting,
        parameters=parameters,
        size_bytes=bytes_of(parameters, facts.dtype),
        reason=_reason(setting, facts.rho, divides),
        gap=(parameters - facts.budget) / facts.budget,
        divides=divides,
    )


def _twin(facts: Facts) -> Suggestion:
    """The LoRA whose whole rank comes nearest; with a hard cap, the nearest below."""
    rank = facts.budget // facts.unit if facts.hard_cap else round(facts.budget / facts.unit)
    setting = Setting.lora(max(rank, 1))
    parameters = count(setting, facts.shapes, facts.target_modules)
    gap = (parameters - facts.budget) / facts.budget
    size = f"{short(parameters)} parameters, {gap:+.2%} from the budget"
    reason = f"LoRA of rank {setting.r} is the nearest in size: {size}."
    return Suggestion(setting, parameters, bytes_of(parameters, facts.dtype), reason, gap, divides=True)


def _reason(setting: Setting, rho: float, divides: bool) -> str:
    """One sentence: what this setting is, and what the paper's runs say of its kind."""
    share = setting.u / rho
    if setting.u == 0:
        kind = "no rank unshared, a kind that narrowly lost to LoRA in the paper (36.82 and 36.40 against 36.89)"
    else:
        kind = f"{setting.u} of them unshared ({share:.2g} of the LoRA rank), "
        if 0.5 <= share <= 0.875:
            kind += "a kind that beat LoRA of equal size in the paper (37.53 against 36.89 at 20M parameters)"
        else:
            kind += "outside the 0.5 to 0.875 that beat LoRA of equal size in the paper"
    fit = (
        f"m = {setting.m} divides every width"
        if divides
        else f"m = {setting.m} leaves an overhang to cut at some widths"
    )
    untried = "" if 2 <= setting.r / rho <= 5 else ", and the paper tried only 2 to 4 times the LoRA rank"
    return f"Rank {setting.r} for the price of LoRA rank {rho:.3g}, {kind}; {fit}{untried}."


def _note(facts: Facts) -> str:
    if facts.rho < 2:
        return (
            "Under the budget of two LoRA ranks only settings without unshared ranks exist, "
            "since one unshared rank would leave too little for a chunk with distinct rolls."
        )
    return (
        f"This budget buys a LoRA of rank {facts.rho:.4g}; sharing buys about four times that rank for the same size."
    )
