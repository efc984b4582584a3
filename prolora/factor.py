"""The method itself: a low-rank factor rebuilt from its unshared ranks and the one chunk that the others share."""

import torch
from torch import Tensor


def stride(ranks: int, shares: int) -> int:
    """How far each copy of the chunk is rolled past the one before it, along the rank axis."""
    return max(ranks // shares, 1)


def chunk_width(width: int, shares: int) -> int:
    """What is stored of a width that is shared; a rate that does not divide it leaves an overhang."""
    return -(-width // shares)


def unfold(unshared: Tensor, chunk: Tensor, shares: int, step: int) -> Tensor:
    """Rebuild the full (rank, width) factor from what is stored of it (Eq. 4).

    The chunk is repeated `shares` times along the width, each copy rolled one `step` further along
    the rank axis, and the overhang is cut; the unshared ranks come first. B is unfolded transposed.
    """
    if not len(chunk):
        return unshared
    copies = torch.cat([chunk.roll(step * copy, dims=0) for copy in range(shares)], dim=1)
    return torch.cat([unshared, copies[:, : unshared.shape[1]]])
