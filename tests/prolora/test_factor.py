import pytest
import torch

from prolora.factor import fold, unfold
from prolora.layout import Axis, Layout, Sharing
from prolora.plan import Setting


def element(chunk: torch.Tensor, rank: int, column: int, step: int) -> torch.Tensor:
    """What the paper puts at one place of the shared part: copy i is rolled i steps down the ranks."""
    copy, offset = divmod(column, chunk.shape[1])
    return chunk[(rank - copy * step) % len(chunk), offset]


def test_every_copy_is_rolled_one_stride_further() -> None:
    chunk = torch.arange(12.0).view(6, 2)
    sharing = Sharing(6, 6, 3)
    factor = unfold(torch.empty(0, 6), chunk, sharing)
    assert sharing.step == 2
    assert torch.equal(factor[:, :2], chunk)
    assert torch.equal(factor[2:, 2:4], chunk[:4])
    assert torch.equal(factor[4:, 4:], chunk[:2])


def test_widths_that_the_rate_does_not_divide_lose_the_overhang() -> None:
    sharing = Sharing(5, 23, 7)
    chunk = torch.randn(sharing.chunk)
    factor = unfold(torch.randn(2, 23), chunk, sharing)
    assert factor.shape == (7, 23)
    for rank in range(5):
        for column in range(23):
            assert factor[2 + rank, column] == element(chunk, rank, column, 1)


def test_unshared_ranks_come_first() -> None:
    unshared = torch.randn(2, 8)
    assert torch.equal(unfold(unshared, torch.randn(3, 4), Sharing(3, 8, 2))[:2], unshared)


def test_without_shared_ranks_the_factor_is_the_unshared_part() -> None:
    unshared = torch.randn(4, 14)
    assert torch.equal(unfold(unshared, torch.empty(0, 5), Sharing(0, 14, 3)), unshared)


def test_one_share_is_plain_lora() -> None:
    chunk = torch.randn(4, 9)
    assert torch.equal(unfold(torch.empty(0, 9), chunk, Sharing(4, 9, 1)), chunk)


def test_without_rotation_the_copies_are_alike() -> None:
    chunk = torch.randn(3, 2)
    assert torch.equal(unfold(torch.empty(0, 6), chunk, Sharing(3, 6, 3, rotate=None)), chunk.repeat(1, 3))


def test_sharing_by_rank_stacks_copies_and_cuts_the_ranks_that_hang_over() -> None:
    sharing = Sharing(5, 4, 2, along="rank", rotate="hidden")
    chunk = torch.randn(sharing.chunk)
    factor = unfold(torch.empty(0, 4), chunk, sharing)
    assert sharing.chunk == (3, 4)
    assert torch.equal(factor[:3], chunk)
    assert torch.equal(factor[3:], chunk.roll(2, dims=1)[:2])


def test_sharing_and_rotating_by_the_hidden_dimension_rolls_columns() -> None:
    chunk = torch.randn(3, 4)
    factor = unfold(torch.empty(0, 8), chunk, Sharing(3, 8, 2, rotate="hidden"))
    assert torch.equal(factor[:, 4:], chunk.roll(2, dims=1))


@pytest.mark.parametrize("along", ["hidden", "rank"])
@pytest.mark.parametrize("rotate", ["hidden", "rank", None])
def test_folding_is_the_gradient_of_unfolding(along: Axis, rotate: Axis | None) -> None:
    sharing = Sharing(7, 23, 3, along, rotate)
    chunk = torch.randn(sharing.chunk, dtype=torch.float64, requires_grad=True)
    incoming = torch.randn(7, 23, dtype=torch.float64)
    unfold(torch.empty(0, 23), chunk, sharing).backward(incoming)
    assert chunk.grad is not None
    torch.testing.assert_close(fold(incoming, sharing), chunk.grad)


def test_a_layout_counts_what_the_formula_of_the_method_counts() -> None:
    shapes = Layout(Setting(32, 4, 7, 7)).shapes(4096, 11008)
    assert sum(rows * width for rows, width in shapes.values()) == 4 * (4096 + 11008) + 28 * (586 + 1573)


def test_an_axis_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="share_along must be one of hidden, rank"):
        Layout(Setting(4, 1, 2, 2), share_along="width")


def test_copies_that_are_cut_away_whole_are_never_made() -> None:
    chunk = torch.arange(3.0)[:, None]
    many, enough = Sharing(3, 6, 10**15), Sharing(3, 6, 6)
    expected = unfold(torch.empty(0, 6), chunk, enough)
    assert torch.equal(unfold(torch.empty(0, 6), chunk, many), expected)
    assert torch.equal(fold(expected, many), fold(expected, enough))
