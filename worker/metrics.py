"""How good answers are: pure functions from texts and numbers to a value with its 95 % interval."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WORD = re.compile(r"\w+|[^\w\s]")
Z = 1.959963984540054  # of 95 %
RESAMPLES, SEED = 2000, 1


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float
    n: int


def exact_match(answer: str, gold: str) -> bool:
    return answer.strip() == gold.strip()


def token_f1(answer: str, gold: str) -> float:
    """Words and marks in common, whatever their order: the harmonic mean of precision and recall."""
    ours, theirs = WORD.findall(answer.lower()), WORD.findall(gold.lower())
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))


def proportion(hits: Sequence[bool]) -> Estimate:
    """A share with Wilson's interval, which does not collapse at 0 of n and n of n."""
    n = len(hits)
    share = sum(hits) / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half), n)


def ratio(sums: Sequence[float], counts: Sequence[float]) -> Estimate:
    """Sum over count, with a bootstrap over items: tokens of one answer are not independent, answers are."""
    tops, bottoms = np.asarray(sums, dtype=float), np.asarray(counts, dtype=float)
    draws = np.random.default_rng(SEED).integers(0, len(tops), size=(RESAMPLES, len(tops)))
    low, high = np.percentile(tops[draws].sum(axis=1) / bottoms[draws].sum(axis=1), [2.5, 97.5])
    return Estimate(float(tops.sum() / bottoms.sum()), float(low), float(high), len(tops))


def mean(values: Sequence[float]) -> Estimate:
    return ratio(values, [1.0] * len(values))


def perplexity(loss: Estimate) -> Estimate:
    return Estimate(math.exp(loss.value), math.exp(loss.low), math.exp(loss.high), loss.n)
