"""Near copies among many texts, found by MinHash (Broder, 1997) with banding and verified on the texts themselves.

Of each text only a sketch of 128 bytes is held. Every text is compared with two others in each band at most and
verified against the likeliest of them, so a hundred thousand copies of one template cost no more than other texts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from prolora.dataset.shingles import Hashes, runs, words

THRESHOLD = 0.8  # of the Jaccard similarity, from which a text counts as a near copy
SHINGLE = 5  # words
ROWS, BANDS = 8, 16  # a pair of similarity s meets in some band with the chance 1 - (1 - s^8)^16: 0.99 at 0.85
WORTH_READING = 0.7  # estimated from the sketch, whose standard error is 0.035 at the threshold
BLOCK = 4096  # shingles sketched, pairs estimated at a time
EVERY = 1000  # texts between two calls of progress
LOADED = 8  # texts whose shingles are kept while candidates are verified

Indices = NDArray[np.int64]
Load = Callable[[int], Hashes]

_multipliers = np.random.Generator(np.random.PCG64(5)).integers(0, 1 << 31, (ROWS * BANDS, 1), np.uint32) * 2 + 1


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """The texts that are near copies of an earlier one, in order: three arrays of one length.

    `copies` and `originals` are indices of texts, `similarities` the exact Jaccard similarity of their shingles.
    """

    copies: Indices
    originals: Indices
    similarities: NDArray[np.float64]

    @property
    def count(self) -> int:
        return len(self.copies)


@dataclass(frozen=True, eq=False)
class Sketches:
    """What is held of each text: 128 bytes of MinHash, how many shingles it has, and a hash of their set."""

    minima: NDArray[np.uint8]
    sizes: NDArray[np.uint32]
    sets: Hashes

    @classmethod
    def empty(cls, count: int) -> "Sketches":
        minima = np.zeros((count, ROWS * BANDS), np.uint8)
        return cls(minima, np.zeros(count, np.uint32), np.zeros(count, np.uint64))


def near_duplicates(texts: Sequence[str], progress: Callable[[int], None]) -> NearDuplicates:
    """Find the near copies; texts are read once in order, then likely copies and their originals once more by index.

    `progress` gets the number of texts read so far, and all of them while copies are verified; what it raises ends
    the search. Texts without a word are copies of nothing.
    """
    sketches = _sketched(texts, progress)
    originals, exact = _exact_copies(sketches)
    similarities = exact.astype(np.float64)
    likely = _likeliest(sketches, np.flatnonzero((sketches.sizes > 0) & ~exact), lambda: progress(len(texts)))
    load = lru_cache(LOADED)(lambda index: _set(texts[index]))
    for done, copy in enumerate(np.flatnonzero(likely >= 0)):
        if done % EVERY == 0:
            progress(len(texts))
        originals[copy], similarities[copy] = likely[copy], _similarity(load, int(copy), int(likely[copy]))
    copies = np.flatnonzero(similarities >= THRESHOLD)
    return NearDuplicates(copies, originals[copies], similarities[copies])


def _set(text: str) -> Hashes:
    """A text's shingles, sorted, each once; a text of fewer words than a shingle is one shingle."""
    found = words(text)
    return np.unique(runs(found, min(SHINGLE, len(found)))) if found else np.empty(0, np.uint64)


def _similarity(load: Load, one: int, other: int) -> float:
    first, second = load(one), load(other)
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)


def _sketched(texts: Sequence[str], progress: Callable[[int], None]) -> Sketches:
    sketches = Sketches.empty(len(texts))
    for index, text in enumerate(texts):
        if index % EVERY == 0:
            progress(index)
        if len(found := _set(text)):
            sketches.minima[index] = _sketch(found)
            sketches.sizes[index] = len(found)
            sketches.sets[index] = int.from_bytes(blake2b(found.tobytes(), digest_size=8).digest(), "little")
    progress(len(texts))
    return sketches


def _sketch(found: Hashes) -> NDArray[np.uint8]:
    """One byte of each of 128 minima, taken from the minimum's hash: the bits of a minimum itself are mostly zero."""
    short = (found >> np.uint64(32)).astype(np.uint32)
    minima = np.full(ROWS * BANDS, (1 << 32) - 1, np.uint32)
    for start in range(0, len(short), BLOCK):
        np.minimum(minima, (_multipliers * short[start : start + BLOCK]).min(axis=1), out=minima)
    return (minima * np.uint32(0x9E3779B1) >> np.uint32(24)).astype(np.uint8)


def _exact_copies(sketches: Sketches) -> tuple[Indices, NDArray[np.bool_]]:
    """For each text the first one with the same shingles, and whether that is another text."""
    originals = np.arange(len(sketches.sets))
    filled = np.flatnonzero(sketches.sizes)
    for members, firsts, _ in _neighbours(sketches.sets[filled]):
        originals[filled[members]] = filled[firsts]
    return originals, originals < np.arange(len(originals))


def _neighbours(keys: Hashes) -> Iterator[tuple[Indices, Indices, Indices]]:
    """In blocks: each position whose key came before, the first position of that key, and the last before it."""
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(keys[order[1:]] == keys[order[:-1]]) + 1
    if not len(again):
        return
    starts = np.delete(np.arange(len(order)), again)
    for begin in range(0, len(again), BLOCK):
        places = again[begin : begin + BLOCK]
        yield order[places], order[starts[np.searchsorted(starts, places, "right") - 1]], order[places - 1]


def _likeliest(sketches: Sketches, unlike: Indices, pause: Callable[[], None]) -> Indices:
    """For each text the earlier one most like it by the sketches, of those it shares a band with; -1 for none.

    `unlike` are the texts of which no two have the same shingles.
    """
    likeliest, best = np.full(len(sketches.sizes), -1), np.full(len(sketches.sizes), WORTH_READING, np.float32)
    for band in range(BANDS):
        pause()
        keys = sketches.minima[unlike, band * ROWS : (band + 1) * ROWS].view(np.uint64)[:, 0]
        for members, firsts, lasts in _neighbours(keys):
            for others in (unlike[firsts], unlike[lasts]):
                _keep_better(sketches, unlike[members], others, likeliest, best)
    return likeliest


def _keep_better(
    sketches: Sketches, copies: Indices, others: Indices, likeliest: Indices, best: NDArray[np.float32]
) -> None:
    alike = (sketches.minima[copies] == sketches.minima[others]).mean(axis=1, dtype=np.float32)
    sizes = np.sort([sketches.sizes[copies], sketches.sizes[others]], axis=0)
    better = (alike > best[copies]) & (sizes[0] >= THRESHOLD * sizes[1])
    likeliest[copies[better]], best[copies[better]] = others[better], alike[better]
