"""The method itself: a low-rank factor rebuilt from its unshared ranks and the one chunk that the others share."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from prolora.layout import Layout, Sharing


def factors(parts: Mapping[str, Tensor], layout: Layout) -> tuple[Tensor, Tensor]:
    """A, (r, in), and B, (out, r), from the stored tensors of one layer by their names."""
    a_u, b_u = scaled(parts["prolora_A_u"], parts.get("prolora_scale_u")), parts["prolora_B_u"]
    a = unfold(a_u, parts["prolora_A_0"], layout.a(a_u.shape[1]))
    return a, unfold(b_u.T, parts["prolora_B_0"].T, layout.b(len(b_u))).T


def scaled(unshared: Tensor, scalars: Tensor | None) -> Tensor:
    """A_u with the scalars of its ranks, where they are trained."""
    return unshared if scalars is None else scalars[:, None] * unshared


def unfold(unshared: Tensor, chunk: Tensor, sharing: Sharing) -> Tensor:
    """Rebuild the full (rank, width) factor from what is stored of it (Eq. 4); B is unfolded transposed.

    The copies of the chunk, each rolled one step further than the one before, stand side by side; what hangs
    over the width is cut. The unshared ranks come first. Numbers are copied, never computed.
    """
    if not sharing.ranks:
        return unshared
    copies = torch.cat(_copies(chunk, sharing), dim=1 if sharing.along == "hidden" else 0)
    return torch.cat([unshared, copies[: sharing.ranks, : sharing.width]])


def _copies(chunk: Tensor, sharing: Sharing) -> list[Tensor]:
    if sharing.rotate is None:
        return [chunk] * sharing.copies
    axis = 0 if sharing.rotate == "rank" else 1
    return [chunk.roll(sharing.step * copy, dims=axis) for copy in range(sharing.copies)]


def fold(gradient: Tensor, sharing: Sharing) -> Tensor:
    """The chunk's gradient from that of the (ranks, width) shared part: each copy rolled back, and summed."""
    rows, width = sharing.chunk
    hidden = sharing.along == "hidden"
    overhang = (
        (0, width * sharing.copies - sharing.width) if hidden else (0, 0, 0, rows * sharing.copies - sharing.ranks)
    )
    parts = functional.pad(gradient, overhang).tensor_split(sharing.copies, dim=1 if hidden else 0)
    if sharing.rotate is not None:
        axis = 0 if sharing.rotate == "rank" else 1
        parts = tuple(part.roll(-sharing.step * copy, dims=axis) for copy, part in enumerate(parts))
    return torch.stack(parts).sum(0)
