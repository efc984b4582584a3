"""Rows of a file in lots: what a lot becomes, wherever it is read, in this process or in another."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from prolora.dataset.element import SHOWN, Element, Flaws, printable, text_of
from prolora.dataset.forms import BadRow, Mapping, Reading, conversation, named
from prolora.dataset.json_files import Block, Stretch, elements_of
from prolora.dataset.records import Reject
from prolora.dataset.stored import Index, Packed

ROWS, BYTES = 2_000, 4 << 20  # of one batch at most, but for its last row
SHOWN_ROWS = 3
LONGEST_NAME = 200  # characters of a field's name that are told


@dataclass(frozen=True)
class Choices:
    """What a person says about how a file is to be read; what is not said is found out."""

    mapping: Mapping | None = None
    encoding: str | None = None
    repairs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Batch:
    """What came of some rows, in the order of the file."""

    read: int
    lines: bytes  # the kept rows as they are stored; nothing where another process has written them
    index: Index
    rejects: tuple[Reject, ...]
    columns: Counter[str]  # field -> rows that have it
    first: tuple[dict[str, str], ...]  # of the rows as they came, shortened
    repaired: Counter[str] = field(default_factory=Counter)
    offered: Counter[str] = field(default_factory=Counter)  # repairs that were not asked for
    is_text: bool = True  # every byte that they were read from, for certain


@dataclass(frozen=True)
class Reader:
    """How rows are read. Without a mapping they are only looked at: their fields are counted and none is kept."""

    mapping: Mapping | None
    repairs: frozenset[str]
    unit: str  # what a row's place is counted in: line or row

    def block(self, block: Block | Stretch) -> Batch:
        flaws = Flaws()
        batch = self.batch(elements_of(block, flaws))
        return replace(batch, is_text=flaws.are_text)

    def apart(self, block: Block | Stretch) -> tuple[bytes, Batch]:
        """The lines, and the batch without them."""
        batch = self.block(block)
        return batch.lines, replace(batch, lines=b"")

    def batch(self, elements: Iterable[Element]) -> Batch:
        shapes: Counter[tuple[str, ...]] = Counter()
        first: list[dict[str, str]] = []
        rows = Packed()
        rejects: list[Reject] = []
        repaired, offered = Counter[str](), Counter[str]()
        read = 0
        for element in elements:
            read += 1
            fields = named(element.value)
            if fields is not None:
                shapes[tuple(fields)] += 1
                if len(first) < SHOWN_ROWS:
                    first.append({printable(name[:LONGEST_NAME]): _shown(value) for name, value in fields.items()})
            if self.mapping is None:
                continue
            try:
                kept = self._kept(element, fields, self.mapping)
            except BadRow as error:
                rejects.append(self._reject(element, error))
                offered.update([error.repair] if error.repair else ())
                continue
            rows.add(kept.messages, element.line, kept.repaired)
            if kept.repaired:
                repaired.update(kept.repaired)
            if kept.offered:
                offered.update(kept.offered)
        told = (tuple(rejects), _columns(shapes), tuple(first), repaired, offered)
        return Batch(read, rows.lines(), rows.index(), *told)

    def _kept(self, element: Element, fields: dict[str, object] | None, mapping: Mapping) -> Reading:
        if element.problem:
            raise BadRow(*element.problem)
        if fields is None:
            raise BadRow("not-an-object", "is not an object with named fields. Write it as one")
        return conversation(fields, mapping, self.repairs)

    def _reject(self, element: Element, error: BadRow) -> Reject:
        reason = printable(f"{self.unit.capitalize()} {element.line} {error} or leave the row out.")
        raw = printable(text_of(element.raw[:SHOWN]))
        return Reject(element.line, reason, error.code, raw, printable(error.field), error.repair, element.raw)


def batched(elements: Iterator[Element]) -> Iterator[list[Element]]:
    while lot := list(_lot(elements)):
        yield lot


def _lot(elements: Iterator[Element]) -> Iterator[Element]:
    size = 0
    for element in islice(elements, ROWS):
        yield element
        size += len(element.raw)
        if size > BYTES:
            return


def _columns(shapes: Counter[tuple[str, ...]]) -> Counter[str]:
    columns: Counter[str] = Counter()
    for names, rows in shapes.items():
        columns.update(dict.fromkeys((printable(name[:LONGEST_NAME]) for name in names), rows))
    return columns


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text[:SHOWN])
