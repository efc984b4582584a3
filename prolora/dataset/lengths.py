"""How long each row is in a base model's tokens, and what a cut-off leaves of it; counted with `tokenizers` alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prolora.chat import ChatTokenizer
from prolora.dataset.records import Row

LOT_ROWS, LOT_TEXT = 256, 1 << 20  # rows and characters tokenised at a time
BINS = 20  # of a histogram, on either side of the cut-off
Counts = NDArray[np.uint32]


@dataclass(frozen=True)
class Cut:
    """What a cut-off does: how many rows lose their end, and in how many no trained token is left."""

    rows: int
    cut: int
    untrained: int


@dataclass(frozen=True)
class Bin:
    """Rows of more than `over` tokens and at most `to`."""

    over: int
    to: int
    rows: int


@dataclass(frozen=True, eq=False)
class Lengths:
    """Of each row, in tokens: all of it, what stands before the first trained one, and those trained.

    A row without a trained token has all of its tokens before it. The first token is predicted from nothing and
    never counts as trained.
    """

    total: Counts
    before: Counts
    trained: Counts

    def of(self, rows: NDArray[np.bool_]) -> "Lengths":
        """Those of some rows."""
        return Lengths(self.total[rows], self.before[rows], self.trained[rows])

    def untrained(self, cutoff: int) -> NDArray[np.bool_]:
        """The rows in which a cut-off leaves no trained token."""
        found: NDArray[np.bool_] = (self.before >= cutoff) | (self.trained == 0)
        return found

    def at(self, cutoff: int) -> Cut:
        untrained = int(np.count_nonzero(self.untrained(cutoff)))
        return Cut(len(self.total), int(np.count_nonzero(self.total > cutoff)), untrained)

    def histogram(self, cutoff: int, bins: int = BINS) -> tuple[Bin, ...]:
        """As many bins up to the cut-off as beyond it; the last holds all that are longer still."""
        cutoff = max(cutoff, 1)
        edges = np.unique(np.linspace(0, 2 * cutoff, 2 * bins + 1).round().astype(np.int64))
        places = np.searchsorted(edges[1:-1], self.total, "left")
        edges[-1] = max(int(edges[-1]), int(self.total.max(initial=0)))
        rows = np.bincount(places, minlength=len(edges) - 1)
        return tuple(Bin(*each) for each in zip(edges[:-1].tolist(), edges[1:].tolist(), rows.tolist(), strict=True))


def count(tokenizer: ChatTokenizer, rows: Sequence[Row], progress: Callable[[int], None]) -> Lengths:
    """Tokenise every row once, as training does; `progress` gets the rows done, and what it raises ends the count."""
    table = np.zeros((3, len(rows)), np.uint32)
    done = 0
    for lot in _lots(rows):
        masks = tokenizer.masks(row.messages for row in lot)
        table[:, done : done + len(lot)] = [list(each) for each in zip(*map(_measured, masks), strict=True)]
        done += len(lot)
        progress(done)
    return Lengths(*table)


def _lots(rows: Sequence[Row]) -> Iterator[list[Row]]:
    lot: list[Row] = []
    text = 0
    for row in rows:
        lot.append(row)
        text += sum(len(message["content"]) for message in row.messages)
        if len(lot) == LOT_ROWS or text >= LOT_TEXT:
            yield lot
            lot, text = [], 0
    if lot:
        yield lot


def _measured(mask: tuple[bool, ...]) -> tuple[int, int, int]:
    seen = mask[1:]
    return len(mask), seen.index(True) + 1 if True in seen else len(mask), sum(seen)


def write(path: Path, lengths: Lengths) -> None:
    with path.open("wb") as file:
        np.save(file, np.stack([lengths.total, lengths.before, lengths.trained]), allow_pickle=False)


def read(path: Path) -> Lengths:
    """What `write` wrote, left on the disk until it is looked at."""
    return Lengths(*np.load(path, mmap_mode="r", allow_pickle=False))
