"""Contamination: texts of a dataset that share a run of thirteen words with a benchmark's test items.

Of the items only hashes are kept, so that a file of fingerprints gives no benchmark away.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from prolora.dataset.shingles import Hashes, shingles, words
from prolora.errors import StudioError

SHINGLE = 13  # words, the run that GPT-3's authors looked for (Brown et al., 2020, appendix C)
SCHEME = {"shingle": str(SHINGLE), "hashing": "1"}  # raise `hashing` whenever the same text would hash otherwise
HITS = 100  # shown of each benchmark
BATCH = 1 << 18  # runs looked up at a time
SIEVE_BITS = 24  # of a hash, which tell in one look-up that most runs are in no benchmark


class FingerprintsError(StudioError):
    """A file of fingerprints that cannot be used."""


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """Hashes of all runs of thirteen words of a benchmark's items, sorted, and the item that each belongs to.

    `total` counts the items; `short` are those of them with too few words to be found.
    """

    hashes: Hashes
    items: NDArray[np.uint32]
    total: int
    short: int

    def __post_init__(self) -> None:
        if not self._sound():
            raise ValueError("the hashes are not sorted, or not each of an item")

    def _sound(self) -> bool:
        if self.hashes.dtype != np.uint64 or self.items.dtype != np.uint32 or self.hashes.ndim != 1:
            return False
        if self.hashes.shape != self.items.shape or not 0 <= self.short <= self.total:
            return False
        return bool(np.all(self.hashes[1:] >= self.hashes[:-1]) and np.all(self.items < self.total))


@dataclass(frozen=True)
class Hit:
    """The first run of a text that is in a benchmark: both counted from 0, the words folded and joined by spaces."""

    text: int
    item: int
    words: str


@dataclass(frozen=True)
class Overlap:
    """How many texts share a run with a benchmark, with how many of its items, and the first of these texts.

    `indices` are all of these texts.
    """

    benchmark: str
    texts: int
    items: int
    hits: tuple[Hit, ...]
    indices: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), compare=False)


def fingerprints(items: Iterable[str]) -> Fingerprints:
    found = [np.unique(shingles(item, SHINGLE)) for item in items]
    counts = [len(hashes) for hashes in found]
    hashes = np.concatenate([np.empty(0, np.uint64), *found])
    order = np.argsort(hashes, kind="stable")
    owners = np.repeat(np.arange(len(found), dtype=np.uint32), counts)
    return Fingerprints(hashes[order], owners[order], total=len(found), short=counts.count(0))


def write(path: Path, prints: Fingerprints) -> None:
    counts = np.array([prints.total, prints.short], np.int64)
    save_file({"hashes": prints.hashes, "items": prints.items, "counts": counts}, path, metadata=SCHEME)


def read(path: Path) -> Fingerprints:
    """Read what `write` wrote, or raise FingerprintsError."""
    try:
        with safe_open(path, framework="numpy") as file:
            scheme = file.metadata()
            hashes, items, counts = (file.get_tensor(name) for name in ("hashes", "items", "counts"))
        total, short = counts.tolist()
        prints = Fingerprints(hashes, items, total, short)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise FingerprintsError(
            f"{path.name} is no readable file of fingerprints ({error}); import the benchmark anew."
        ) from error
    if scheme != SCHEME:
        raise FingerprintsError(f"{path.name} was made by another version; import the benchmark anew.")
    return prints


def overlaps(
    texts: Iterable[str], benchmarks: Mapping[str, Fingerprints], progress: Callable[[int], None]
) -> tuple[Overlap, ...]:
    """Look every text up in every benchmark; one Overlap each, in their order.

    `progress` is called now and then with the number of texts done; what it raises ends the search.
    """
    tallies = [Tally(name, prints) for name, prints in benchmarks.items()]
    sieve = np.zeros(1 << SIEVE_BITS, np.bool_)
    for prints in benchmarks.values():
        sieve[_sieved(prints.hashes)] = True
    for batch in _batches(texts):
        hashes = np.concatenate(batch.hashes)
        places = np.flatnonzero(sieve[_sieved(hashes)])
        for tally in tallies:
            tally.add(batch, hashes, places)
        progress(batch.first + len(batch.texts))
    return tuple(tally.overlap() for tally in tallies)


def _sieved(hashes: Hashes) -> Hashes:
    return hashes >> np.uint64(64 - SIEVE_BITS)


@dataclass(frozen=True, eq=False)
class Batch:
    """Some texts in a row with their runs; `first` is the index of the first text."""

    first: int
    texts: list[str]
    hashes: list[Hashes]


def _batches(texts: Iterable[str]) -> Iterator[Batch]:
    batch, gathered = Batch(0, [], []), 0
    for index, text in enumerate(texts):
        if gathered >= BATCH:
            yield batch
            batch, gathered = Batch(index, [], []), 0
        batch.texts.append(text)
        batch.hashes.append(shingles(text, SHINGLE))
        gathered += max(len(batch.hashes[-1]), SHINGLE)  # so that a batch of short texts ends as well
    if batch.texts:
        yield batch


class Tally:
    """What has been met of one benchmark; which runs were met is noted rather than which items, since one run
    may stand in many items and many texts."""

    def __init__(self, name: str, prints: Fingerprints) -> None:
        self.name, self.prints = name, prints
        self.met = np.zeros(len(prints.hashes), np.bool_)
        self.indices = [np.empty(0, np.int64)]
        self.hits: list[Hit] = []

    def add(self, batch: Batch, hashes: Hashes, places: NDArray[np.int64]) -> None:
        """Count the batch's texts that have one of the benchmark's runs, among the `hashes` at `places`."""
        if not len(self.met):
            return
        found = np.searchsorted(self.prints.hashes, hashes[places])
        same = self.prints.hashes[np.minimum(found, len(self.met) - 1)] == hashes[places]
        places, found = places[same], found[same]
        self.met[found] = True
        ends = np.cumsum([len(each) for each in batch.hashes])
        texts, firsts = np.unique(np.searchsorted(ends, places, "right"), return_index=True)
        self.indices.append(batch.first + texts)
        for text, first in list(zip(texts.tolist(), firsts, strict=True))[: HITS - len(self.hits)]:
            start = int(places[first]) - int(ends[text]) + len(batch.hashes[text])
            run = " ".join(words(batch.texts[text])[start : start + SHINGLE])
            self.hits.append(Hit(batch.first + text, int(self.prints.items[found[first]]), run))

    def overlap(self) -> Overlap:
        hashes = self.prints.hashes
        met = self.met[np.searchsorted(hashes, hashes)]  # a run met in its first item is met in all
        items, indices = len(np.unique(self.prints.items[met])), np.concatenate(self.indices)
        return Overlap(self.name, len(indices), items, tuple(self.hits), indices)
