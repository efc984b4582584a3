"""The order in which a run sees its rows: alike for a run, its twin and its resumption."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

LARGEST_SEED = 2**63


class SeededOrder(Sampler[int]):
    """Rows grouped by length, shuffled anew each epoch by (seed, epoch) alone.

    transformers' own grouping draws from the global random state, which a resumed run does not have back in time.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed = list(lengths), batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before each epoch, and on resumption with the epoch to go on in."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draw = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % LARGEST_SEED)
        yield from get_length_grouped_indices(self.lengths, self.batch_size, generator=draw)
