import torch

from prolora.factor import chunk_width, stride, unfold


def element(chunk: torch.Tensor, rank: int, column: int, step: int) -> torch.Tensor:
    """What the paper puts at one place of the shared part: copy i is rolled i steps down the ranks."""
    copy, offset = divmod(column, chunk.shape[1])
    return chunk[(rank - copy * step) % len(chunk), offset]


def test_every_copy_is_rolled_one_stride_further() -> None:
    chunk = torch.arange(12.0).view(6, 2)
    factor = unfold(torch.empty(0, 6), chunk, 3, stride(6, 3))
    assert stride(6, 3) == 2
    assert torch.equal(factor[:, :2], chunk)
    assert torch.equal(factor[2:, 2:4], chunk[:4])
    assert torch.equal(factor[4:, 4:], chunk[:2])


def test_widths_that_the_rate_does_not_divide_lose_the_overhang() -> None:
    chunk = torch.randn(5, chunk_width(23, 7))
    factor = unfold(torch.randn(2, 23), chunk, 7, stride(5, 7))
    assert factor.shape == (7, 23)
    for rank in range(5):
        for column in range(23):
            assert factor[2 + rank, column] == element(chunk, rank, column, 1)


def test_unshared_ranks_come_first() -> None:
    unshared = torch.randn(2, 8)
    assert torch.equal(unfold(unshared, torch.randn(3, 4), 2, 1)[:2], unshared)


def test_without_shared_ranks_the_factor_is_the_unshared_part() -> None:
    unshared = torch.randn(4, 14)
    assert torch.equal(unfold(unshared, torch.empty(0, 5), 3, 1), unshared)


def test_one_share_is_plain_lora() -> None:
    chunk = torch.randn(4, 9)
    assert torch.equal(unfold(torch.empty(0, 9), chunk, 1, stride(4, 1)), chunk)


def test_without_a_step_the_copies_are_alike() -> None:
    chunk = torch.randn(3, 2)
    assert torch.equal(unfold(torch.empty(0, 6), chunk, 3, 0), chunk.repeat(1, 3))


def test_gradients_sum_over_the_copies() -> None:
    chunk = torch.randn(3, 2, requires_grad=True)
    unfold(torch.empty(0, 5), chunk, 3, 1).sum().backward()
    # The cut takes one column of the third copy, and every rank passes through it once.
    assert chunk.grad is not None
    assert torch.equal(chunk.grad, torch.tensor([[3.0, 2.0]] * 3))
