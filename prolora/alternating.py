"""The PRoLoRA factors nearest to a product of two thin ones, by alternating least squares.

With B fixed, ||B A - T|| falls apart by column: the columns c, c + w, c + 2w, ... of A hang together, because one
column of the chunk A_0 stands in all of them, and they hang on no others. What A_u reaches is projected out first,
which leaves one system for all columns of the chunk that stand in equally many copies. B is solved alike, transposed.
T is never formed: only its thin factors are, in the few coordinates that B or A and they span.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prolora.factor import fold, unfold
from prolora.layout import Layout, Sharing

SHORT, LONG = 10, 200  # sweeps of every start, and of the best one
ENOUGH = 1e-4  # a sweep that takes off less of the error than this part is the last
SEEDS = (1, 2)
NOISE = 1e-2  # of the ranks that a LoRA of fewer ranks leaves empty
TRUSTED = 1e-12  # part of the whole up to which a singular value is rounding


@dataclass(frozen=True)
class Product:
    """T = B A of thin factors in float64, (outputs, k) and (k, inputs)."""

    b: Tensor
    a: Tensor


@dataclass(frozen=True)
class Factor:
    """What is stored of a factor, (u, width) and the chunk, and where its copies go; B is kept transposed."""

    unshared: Tensor
    chunk: Tensor
    sharing: Sharing

    @property
    def full(self) -> Tensor:
        return unfold(self.unshared, self.chunk, self.sharing)


@dataclass(frozen=True)
class Fit:
    a: Factor
    b: Factor
    error: float  # ||B A - T|| / ||T||
    sweeps: int = 0


def nearest(target: Product, layout: Layout) -> Fit:
    """The best of several starts: each goes a few sweeps, the best of them to the end."""
    if not target.a.any() or not target.b.any():
        return _of_nothing(target, layout)
    balanced = _by_importance(target)
    tries = [_last(sweeps(balanced, start, layout), SHORT) for start in _starts(target, balanced, layout)]
    best = min(tries, key=lambda fit: fit.error)
    further = _last(sweeps(balanced, best.b, layout), LONG)
    return min(best, replace(further, sweeps=best.sweeps + further.sweeps), key=lambda fit: fit.error)


def _of_nothing(target: Product, layout: Layout) -> Fit:
    """Of a LoRA that was never trained: B is zero, and A is kept so that it still can be."""
    rank, u = layout.setting.r, layout.setting.u
    a = _projected(_padded(target.a, rank), u, layout.a(target.a.shape[1]))
    b = _projected(target.b.new_zeros(rank, len(target.b)), u, layout.b(len(target.b)))
    return Fit(a, b, 0.0)


def sweeps(target: Product, b: Factor, layout: Layout) -> Iterator[Fit]:
    """Solve A for B and B for A in turn, for ever; the error never rises but for rounding."""
    sharing_a, u = layout.a(target.a.shape[1]), layout.setting.u
    for count in range(1, LONG + 1):
        a = _solve(*_thin(b.full, target.b, target.a), u, sharing_a)
        b = _solve(*_thin(a.full, target.a.T, target.b.T), u, b.sharing)
        yield Fit(a, b, relative_error(target, a.full, b.full), count)


def _thin(full: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """full.T and left @ right in the few coordinates that their columns span."""
    rank, thin = len(full), torch.linalg.qr(torch.cat([full.T, left], dim=1)).R
    return thin[:, :rank], thin[:, rank:] @ right


def relative_error(target: Product, a: Tensor, b: Tensor) -> float:
    """||B A - T|| / ||T|| by thin QR, so that a small difference is not lost between large squares."""
    left = torch.linalg.qr(torch.cat([b.T, -target.b], dim=1)).R
    right = torch.linalg.qr(torch.cat([a, target.a]).T).R
    size = torch.linalg.norm(torch.linalg.qr(target.b).R @ torch.linalg.qr(target.a.T).R.T)
    return float(torch.linalg.norm(left @ right.T) / size)


def _last(fits: Iterator[Fit], most: int) -> Fit:
    """The best fit once sweeps gain too little, or after so many."""
    best = next(fits)
    for _, fit in zip(range(most - 1), fits, strict=False):
        gained = best.error - fit.error
        if gained > 0:
            best = fit
        if gained <= ENOUGH * best.error:
            break
    return best


def _solve(reach: Tensor, wanted: Tensor, u: int, sharing: Sharing) -> Factor:
    """Minimise ||reach X - wanted|| over X = [X_u; copies of X_0], for reach (q, r) and wanted (q, width).

    Whatever X_u reaches is taken out first; then the chunk is solved for alone, and X_u takes what is left.
    """
    small = TRUSTED * float(torch.linalg.norm(reach))
    own, rest = reach[:, :u], reach[:, u:]
    outside = torch.eye(len(reach), dtype=reach.dtype) - _onto(own, small)
    chunk = _chunk(outside @ rest, outside @ wanted, sharing, small)
    shared = unfold(wanted.new_empty(0, sharing.width), chunk, sharing)
    return Factor(_least_squares(own, wanted - rest @ shared, small), chunk, sharing)


def _chunk(reach: Tensor, wanted: Tensor, sharing: Sharing, small: float) -> Tensor:
    """The chunk; a column of it that the last copies have no room for answers for fewer of them."""
    chunk, width = wanted.new_empty(sharing.chunk), sharing.chunk[1]
    for copies in range(1, sharing.shares + 1 if sharing.ranks else 1):
        start, stop = _room(sharing, copies), _room(sharing, copies - 1)
        if start < stop:
            # reach roll(x) = (reach rolled back) x, so that all copies of a column are one taller system.
            rolled = [reach.roll(-sharing.step * copy, dims=1) for copy in range(copies)]
            held = [wanted[:, copy * width + start : copy * width + stop] for copy in range(copies)]
            chunk[:, start:stop] = _least_squares(torch.cat(rolled), torch.cat(held), small)
    return chunk


def _room(sharing: Sharing, copy: int) -> int:
    """How many columns of this copy of the chunk lie within the width."""
    width = sharing.chunk[1]
    return min(max(sharing.width - copy * width, 0), width) if copy < sharing.shares else 0


def _least_squares(system: Tensor, wanted: Tensor, small: float) -> Tensor:
    """The shortest solution, without the directions that the system reaches by no more than `small`."""
    solution: Tensor = torch.linalg.pinv(system, atol=small, rtol=0.0) @ wanted
    return solution


def _onto(system: Tensor, small: float) -> Tensor:
    """The projection onto what the system reaches."""
    left, sizes, _ = torch.linalg.svd(system, full_matrices=False)
    basis: Tensor = left[:, sizes > small]
    return basis @ basis.T


def _by_importance(target: Product) -> Product:
    """The same product with its singular values, largest first, spread evenly over both factors."""
    left, right = torch.linalg.qr(target.b), torch.linalg.qr(target.a.T)
    u, s, vh = torch.linalg.svd(left.R @ right.R.T)
    root = s.sqrt()
    return Product(left.Q @ u * root, root[:, None] * (vh @ right.Q.T))


def _starts(target: Product, balanced: Product, layout: Layout) -> Iterator[Factor]:
    """Of B: the singular vectors, the LoRA's own order of ranks if it has as many, and random chunks."""
    rank, sharing = layout.setting.r, layout.b(len(target.b))
    singular = _padded(balanced.b.T, rank)
    yield _projected(singular, layout.setting.u, sharing)
    if len(target.a) == rank:
        yield _projected(target.b.T, layout.setting.u, sharing)
    spread = float(balanced.b.std())
    for seed in SEEDS if sharing.ranks else ():
        chunk = torch.randn(sharing.chunk, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        yield Factor(singular[: layout.setting.u], chunk * spread, sharing)


def _padded(full: Tensor, rank: int) -> Tensor:
    noise = torch.randn(rank, full.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise *= NOISE * float(full.std())
    noise[: len(full)] = full[:rank]
    return noise


def _projected(full: Tensor, u: int, sharing: Sharing) -> Factor:
    """The nearest factor that shares: each number of the chunk is the mean of its copies."""
    if not sharing.ranks:
        return Factor(full, full.new_empty(sharing.chunk), sharing)
    copies = fold(torch.ones_like(full[u:]), sharing).clamp(min=1)
    return Factor(full[:u], fold(full[u:], sharing) / copies, sharing)
