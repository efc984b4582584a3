"""The update of one layer in training: forward and backward as one step, so that little is saved in between.

Plain autograd would save the dropped-out input and both unfolded factors. Here a mask of one byte a number and the
r numbers a token between the factors are saved; the factors are unfolded again in the backward pass, which is cheap,
and the gradient of each copy of a chunk is rolled back and summed by hand.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prolora.factor import fold, unfold
from prolora.layout import Sharing


@dataclass(frozen=True)
class Terms:
    """What is fixed of an update; the sharing of B is that of B transposed."""

    a: Sharing
    b: Sharing
    scaling: float
    dropout: float


def update(base: Tensor, x: Tensor, stored: tuple[Tensor, Tensor, Tensor, Tensor], terms: Terms) -> Tensor:
    """base + scaling * B A dropout(x), with x (..., in), base (..., out), and A_u, A_0, B_u, B_0 as stored.

    Computed in the dtype of x, or autocast's; the small factors are cast, and the result has the dtype of base.
    """
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    with torch.autocast(kind, enabled=False):
        return cast(Tensor, _Update.apply(base, x, dtype, terms, *stored))  # type: ignore[no-untyped-call]


class _Update(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, base: Tensor, x: Tensor, dtype: torch.dtype, terms: Terms, *stored: Tensor) -> Tensor:
        flat, rows = _rows(x).to(dtype), _rows(base).to(dtype)
        a, b = _factors(stored, terms, dtype)
        mask = _keep(flat, terms.dropout) if terms.dropout else None
        kept = flat if mask is None else flat * mask.to(dtype)
        # Scaled on the narrow side, where a token has r numbers and not the layer's whole width.
        inner = (kept @ a.T).mul_(terms.scaling / _kept_share(terms.dropout))
        ctx.save_for_backward(flat, mask, inner, *stored)
        ctx.terms, ctx.shape, ctx.dtype = terms, x.shape, x.dtype
        # In the shape of base from the start: autograd forbids to change a view in place that a function gives back.
        result = torch.empty(base.shape, dtype=dtype, device=base.device)
        torch.addmm(rows, inner, b, out=result.view(rows.shape))
        return result.to(base.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        flat, mask, inner, *stored = ctx.saved_tensors
        terms: Terms = ctx.terms
        rows = _rows(gradient).to(flat.dtype)
        a, b = _factors(tuple(stored), terms, flat.dtype)
        mask = None if mask is None else mask.to(flat.dtype)  # multiplies several times faster than bools do
        of_inner = (rows @ b.T).mul_(terms.scaling / _kept_share(terms.dropout))
        of_x = None
        if ctx.needs_input_grad[1]:
            # In the shape of x from the start: autograd can add to what is no view without a copy.
            of_x = of_inner.view(*ctx.shape[:-1], len(a)) @ a
            if mask is not None:
                of_x.mul_(mask.view(ctx.shape))
            of_x = of_x.to(ctx.dtype)
        # Wide by narrow is a tenth faster on CPUs than its transpose.
        of_a = ((flat if mask is None else flat * mask).T @ of_inner).T
        of_b = (rows.T @ inner).T
        unshared = stored[0].shape[0]
        # Copies, since a view of one gradient in another would be written to by both.
        of_parts = (
            of_a[:unshared].to(stored[0].dtype, copy=True),
            fold(of_a[unshared:].to(stored[1].dtype), terms.a),
            of_b[:unshared].T.to(stored[2].dtype, copy=True, memory_format=torch.contiguous_format),
            fold(of_b[unshared:].to(stored[3].dtype), terms.b).T.contiguous(),
        )
        return gradient if ctx.needs_input_grad[0] else None, of_x, None, None, *of_parts


def _rows(tokens: Tensor) -> Tensor:
    """(tokens, width), whatever the shape before the width."""
    return tokens.reshape(-1, tokens.shape[-1])


def _keep(x: Tensor, dropout: float) -> Tensor:
    """Which numbers stay, as bools in the shape of x, from 16 random bits each.

    torch's own Bernoulli numbers take a CPU longer than both factors do; 64 bits at a time are made in a seventh of it.
    """
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    return (bits.view(torch.int16)[: x.numel()] >= _threshold(dropout)).view(x.shape)


def _threshold(dropout: float) -> int:
    return round(dropout * 2**16) - 2**15


def _kept_share(dropout: float) -> float:
    """1 - dropout as 16 bits have it, so that the mean is kept exactly."""
    return 1 - round(dropout * 2**16) / 2**16


def _factors(stored: tuple[Tensor, ...], terms: Terms, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A, (r, in), and B transposed, (r, out)."""
    a_u, a_0, b_u, b_0 = (tensor.to(dtype) for tensor in stored)
    return unfold(a_u, a_0, terms.a), unfold(b_u.T, b_0.T, terms.b)
