"""The order in which a run sees its rows: alike for a run, its twin, its resumption and its run on several devices."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from worker.examples import IGNORED, Example

LARGEST_SEED = 2**63
NO_ROW = -1  # what fills an epoch's last batch up, so that every device gets a part of it
NOTHING = Example([0], [IGNORED])


class Rows(Dataset[Example]):
    """The examples by number, and one that teaches nothing."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, number: int) -> Example:
        return NOTHING if number == NO_ROW else self.examples[number]


class SeededOrder(Sampler[int]):
    """Rows shuffled anew each epoch by (seed, epoch) alone, and grouped by `lengths`: alike, they group nothing.

    transformers' own grouping draws from the global random state, which a resumed run does not have back in time.
    `parts` says in how many a batch is computed, by devices or one after the other: an epoch then is whole batches,
    whose consecutive parts accelerate deals to the devices, so that each batch has the rows it has on one device.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, parts: int = 1) -> None:
        self.lengths, self.batch_size, self.seed, self.parts = list(lengths), batch_size, seed, parts
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before each epoch, and on resumption with the epoch to go on in."""
        self.epoch = epoch

    @property
    def missing(self) -> int:
        return -len(self.lengths) % self.batch_size if self.parts > 1 else 0

    def __len__(self) -> int:
        return len(self.lengths) + self.missing

    def __iter__(self) -> Iterator[int]:
        draw = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % LARGEST_SEED)
        yield from get_length_grouped_indices(self.lengths, self.batch_size, generator=draw)
        yield from [NO_ROW] * self.missing
