"""Whether a LoRA is the expansion of a PRoLoRA, and of which: every copy of the chunk must equal the first, rolled."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from prolora.adapter_file import AdapterError
from prolora.factor import unfold
from prolora.layout import Sharing
from prolora.plan import Setting

OURS, AUTHORS = "unshared ranks first, rolled forwards", "the authors': unshared ranks last, rolled backwards"
CONVENTIONS = (OURS, AUTHORS)
MOST_SHARES = 512
Factors = Mapping[str, tuple[Tensor, Tensor]]  # A, (r, h), and B, (o, r), by module


@dataclass(frozen=True)
class Sought:
    """What is known of the setting; None is to be found."""

    u: int | None = None
    m: int | None = None
    n: int | None = None

    def __post_init__(self) -> None:
        for name, rate in (("m", self.m), ("n", self.n)):
            if rate is not None and rate < 1:
                raise AdapterError(f"Sharing rate {name} must be at least 1, not {rate}.")


@dataclass(frozen=True)
class _Miss:
    """Where a setting does not fit, and by how much."""

    module: str
    deviation: float


def find(factors: Factors, sought: Sought) -> tuple[Setting, str]:
    """The cheapest setting, and the convention, of which all factors are exactly the expansion; raises if none is."""
    ranks = {len(a) for a, _ in factors.values()}
    if len(ranks) > 1:
        raise AdapterError(f"The factors have the ranks {sorted(ranks)}; an expansion has one. Convert it by --budget.")
    (rank,) = ranks
    if sought.u is not None and not 0 <= sought.u <= rank:
        raise AdapterError(f"u must lie between 0 and the rank {rank} of this LoRA, not {sought.u}.")
    if sought.u == rank:
        return Setting.lora(rank), OURS
    if None not in (sought.u, sought.m, sought.n):
        return _verified(factors, Setting(rank, sought.u or 0, sought.m or 0, sought.n or 0))
    telling = next((pair for pair in factors.values() if pair[0].any() and pair[1].any()), None)
    if telling is None:
        raise AdapterError(
            "One of the factors is zero throughout, so nothing tells the setting. Give --u, --m and --n."
        )
    for setting, convention in _candidates(*telling, sought):
        if _miss(factors, setting, convention) is None:
            return setting, convention
    raise AdapterError(
        "This LoRA is not the expansion of a PRoLoRA: no u, m and n makes all copies of a chunk alike. "
        "Find the nearest one by --budget or by --r, --u, --m and --n."
    )


def fold_back(a: Tensor, b: Tensor, setting: Setting, convention: str) -> dict[str, Tensor]:
    """What is stored of an expansion: the unshared ranks and the first copy of each chunk."""
    a, b = _ours(a, setting.u, convention), _ours(b.T, setting.u, convention)
    (_, chunk_a), (_, chunk_b) = (
        _sharing(setting, len(x.T), rate).chunk for x, rate in ((a, setting.m), (b, setting.n))
    )
    u = setting.u
    return {"A_u": a[:u], "A_0": a[u:, :chunk_a], "B_u": b[:u].T, "B_0": b[u:, :chunk_b].T}


def _verified(factors: Factors, setting: Setting) -> tuple[Setting, str]:
    misses = []
    for convention in CONVENTIONS:
        miss = _miss(factors, setting, convention)
        if miss is None:
            return setting, convention
        misses.append(miss)
    nearest = min(misses, key=lambda miss: miss.deviation)
    raise AdapterError(
        f"This LoRA is not an expansion of {setting}: in {nearest.module} the copies of a chunk differ by up to "
        f"{nearest.deviation:.3g}. Leave out --u, --m and --n to have the setting found, or give --r or --budget for "
        "the nearest PRoLoRA."
    )


def _miss(factors: Factors, setting: Setting, convention: str) -> _Miss | None:
    for module, (a, b) in factors.items():
        deviation = max(_deviation(a, setting, setting.m, convention), _deviation(b.T, setting, setting.n, convention))
        if deviation:
            return _Miss(module, deviation)
    return None


def _deviation(factor: Tensor, setting: Setting, rate: int, convention: str) -> float:
    """The largest difference between a (r, width) factor and the expansion of its first chunk; 0 is bit for bit."""
    ordered = _ours(factor, setting.u, convention)
    sharing = _sharing(setting, ordered.shape[1], rate)
    rebuilt = unfold(ordered[: setting.u], ordered[setting.u :, : sharing.chunk[1]], sharing)
    return float((rebuilt.double() - ordered.double()).abs().max())


def _ours(factor: Tensor, u: int, convention: str) -> Tensor:
    """The rows of a (r, width) factor in our order: unshared first, shared ones by k -> (-k) mod R."""
    if convention == OURS:
        return factor
    shared = len(factor) - u
    backwards = -torch.arange(shared) % max(shared, 1)
    return torch.cat([factor[shared:], factor[:shared][backwards]])


def _sharing(setting: Setting, width: int, rate: int) -> Sharing:
    return Sharing(setting.shared, width, rate)


def _candidates(a: Tensor, b: Tensor, sought: Sought) -> Iterator[tuple[Setting, str]]:
    """Settings that fit one layer, the cheapest first; u = r and m = n = 1 fit all and say nothing."""
    rank = len(a)
    found = []
    for u, convention in product(range(rank) if sought.u is None else [sought.u], CONVENTIONS):
        rates_a = _rates(_ours(a, u, convention), u, sought.m)
        rates_b = _rates(_ours(b.T, u, convention), u, sought.n) if rates_a else []
        found += [(Setting(rank, u, m, n), convention) for m, n in product(rates_a, rates_b) if m * n > 1]
    sizes = len(a.T), len(b)
    yield from sorted(found, key=lambda each: _parameters(each[0], *sizes))


def _rates(factor: Tensor, u: int, given: int | None) -> list[int]:
    """The sharing rates of which a (r, width) factor in our order is an expansion."""
    rank, width = factor.shape
    shared = factor[u:]
    fitting = []
    for rate in range(1, min(width, MOST_SHARES) + 1) if given is None else [given]:
        sharing = Sharing(rank - u, width, rate)
        chunk = sharing.chunk[1]
        # Two columns tell nearly every wrong rate from a right one, at a thousandth of the price.
        if chunk < width and not torch.equal(shared[:, chunk], shared[:, 0].roll(sharing.step)):
            continue
        if torch.equal(unfold(factor[:u], shared[:, :chunk], sharing), factor):
            fitting.append(rate)
    return fitting


def _parameters(setting: Setting, inputs: int, outputs: int) -> int:
    chunks = sum(_sharing(setting, width, rate).chunk[1] for width, rate in ((inputs, setting.m), (outputs, setting.n)))
    return setting.u * (inputs + outputs) + setting.shared * chunks
