"""All settings that keep a budget, as columns of numbers, and their order by what the paper's runs showed.

m = n throughout: other pairs are defined, but nothing shows that they do better.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prolora.budget import chunk_cost, grouped, usable_rates
from prolora.facts import BudgetTooSmall, Facts

MAX_RANK = 512  # vLLM serves no adapter above it
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """Columns of equal length: one setting (u + R, u, m, m) a row."""

    shared: Numbers  # R
    unshared: Numbers
    rate: Numbers
    parameters: Numbers

    def pick(self, rows: NDArray[np.bool_] | Numbers) -> "Candidates":
        return Candidates(self.shared[rows], self.unshared[rows], self.rate[rows], self.parameters[rows])


def _grid(facts: Facts) -> tuple[Numbers, Numbers, Numbers]:
    """Every (R, m) whose m rolls differ, which is R >= m, and what the chunk costs."""
    rates = usable_rates(facts.shapes, facts.target_modules, MAX_RANK)
    if facts.divisible:
        rates = [rate for rate in rates if facts.divided_by(rate)]
    per_rank = np.array([chunk_cost(facts.shapes, facts.target_modules, rate, rate) for rate in rates], dtype=np.int64)
    rate, shared = np.meshgrid(np.array(rates, dtype=np.int64), np.arange(1, MAX_RANK + 1, dtype=np.int64))
    cost = shared * per_rank
    kept = (shared >= rate) & (cost <= facts.ceiling)
    return shared[kept], rate[kept], cost[kept]


def within(facts: Facts) -> Candidates:
    """All settings within the tolerance: for each chunk, the unshared ranks that fill the rest."""
    shared, rate, cost = _grid(facts)
    low, high = facts.budget - int(facts.budget * facts.spread), facts.ceiling
    fewest = np.maximum(-((cost - low) // facts.unit), 0)
    most = np.minimum((high - cost) // facts.unit, MAX_RANK - shared)
    times = np.maximum(most - fewest + 1, 0)
    row = np.repeat(np.arange(len(times)), times)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
    unshared = fewest[row] + nth
    return Candidates(shared[row], unshared, rate[row], cost[row] + unshared * facts.unit)


def nearest_below(facts: Facts) -> Candidates:
    shared, rate, cost = _grid(facts)
    unshared = np.minimum((facts.budget - cost) // facts.unit, MAX_RANK - shared)
    found = Candidates(shared, unshared, rate, cost + unshared * facts.unit).pick(unshared >= 0)
    if not len(found.rate):
        raise BudgetTooSmall(
            f"No setting {'whose rates divide every width ' if facts.divisible else ''}"
            f"fits {grouped(facts.budget)} parameters. Raise the budget or allow other settings."
        )
    return found.pick(found.parameters == found.parameters.max())


def order(found: Candidates, facts: Facts) -> Numbers:
    """Row numbers, best first, by the evidence in the paper; numpy's last key weighs most."""
    rho, rank = facts.rho, found.shared + found.unshared
    dividing = [False, *(facts.divided_by(rate) for rate in range(1, int(found.rate.max()) + 1))]
    rows: Numbers = np.lexsort(
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
    return rows


def _standing(unshared: Numbers, rho: float) -> Numbers:
    """0: a share of unshared ranks that beat LoRA; 1: another share; 2: none unshared, which lost to LoRA."""
    proven = (unshared >= 0.5 * rho) & (unshared <= 0.875 * rho)
    return np.where(unshared == 0, 2, np.where(proven, 0, 1))
