"""What surveys find of a dataset, as the page reads it; rows are counted from 0, lines are the file's."""

from dataclasses import dataclass
from typing import Any, Self

EXAMPLES = 20  # shown of a kind; the rest lies in files


@dataclass(frozen=True)
class Copy:
    """A row that is a near copy of an earlier one."""

    row: int
    line: int
    original: int
    original_line: int
    similarity: float


@dataclass(frozen=True)
class NearCopies:
    rows: int
    copies: int
    examples: tuple[Copy, ...]

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        return cls(found["rows"], found["copies"], tuple(Copy(**each) for each in found["examples"]))


@dataclass(frozen=True)
class Shared:
    """The first words of a row that stand in a benchmark's item."""

    row: int
    line: int
    item: int
    words: str


@dataclass(frozen=True)
class Contamination:
    """How many rows share a run of words with a benchmark, with how many of its items.

    Of its `total` items, `short` have too few words to be found.
    """

    benchmark: str
    rows: int
    items: int
    total: int
    short: int
    examples: tuple[Shared, ...]

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        return cls(**found | {"examples": tuple(Shared(**each) for each in found["examples"])})


@dataclass(frozen=True)
class Overlaps:
    """One for each benchmark that had been imported."""

    rows: int
    benchmarks: tuple[Contamination, ...]

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        return cls(found["rows"], tuple(map(Contamination.from_json, found["benchmarks"])))


@dataclass(frozen=True)
class TokenCounts:
    """Of all rows together, in a base's tokens; how they lie about a cut-off is asked of surveys.lengths."""

    base_model: str
    rows: int
    tokens: int
    trained: int
    longest: int

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        return cls(**found)


Findings = NearCopies | Overlaps | TokenCounts
