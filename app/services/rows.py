"""The rows of a dataset, a page at a time: filtered by its index and its surveys, searched for a text."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.services import surveys
from app.services.datasets import Pieces, open_rows, pieces_of
from prolora.dataset import Row, StoredRows
from prolora.dataset.records import limit
from prolora.errors import DatasetError

PAGE = 20  # rows shown at once
PATIENCE = 0.7  # seconds of searching for one answer
STRIDE = 2_000  # rows searched between two looks at the clock
ALL, TRAINED, HELD_OUT, REPAIRED = "all", "trained", "held out", "repaired"
REPEATS, NEAR, OVERLAP = "repeats", "near copies", "overlap:"

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Shown:
    """One row; `place` counts from 0 in the dataset, `line` from 1 in its file."""

    place: int
    line: int
    pieces: Pieces
    held_out: bool
    repaired: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    rows: tuple[Shown, ...]
    of: int  # rows that the filter leaves
    searched: int  # of those, how far the search has come
    next: int | None  # where the next page begins, counted in the filter's rows; None at the end


def page(dataset_id: int, chosen: str = ALL, text: str = "", start: int = 0) -> Page:
    """From `start` in the filter's rows. A search that takes too long ends early, and goes on from `next`."""
    rows = open_rows(dataset_id)
    places = filtered(dataset_id, rows, chosen)
    found, at = _found(rows, places, text, start)
    bound = limit(rows.lots)
    shown = tuple(_shown(rows, int(place), bound) for place in found)
    return Page(shown, len(places), at, at if at < len(places) else None)


def filtered(dataset_id: int, rows: StoredRows, chosen: str) -> Places:
    """The places of the rows that a filter leaves. Raises DatasetError for one that has not been counted yet."""
    lots = rows.lots
    if chosen in (TRAINED, HELD_OUT):
        return np.flatnonzero((lots < limit(lots)) == (chosen == HELD_OUT))
    if chosen == REPAIRED:
        return np.flatnonzero(rows.entries["repaired"])
    if chosen == REPEATS:
        return repeats(rows)
    if chosen == NEAR or chosen.startswith(OVERLAP):
        return _surveyed(dataset_id, chosen)
    return np.arange(len(rows))


def repeats(rows: StoredRows) -> Places:
    """The rows that say what an earlier one says."""
    _, first = np.unique(rows.entries["digest"], return_index=True)
    return np.delete(np.arange(len(rows)), first)


def _surveyed(dataset_id: int, chosen: str) -> Places:
    if chosen == NEAR:
        copies = surveys.near_copies(dataset_id)
        found = None if copies is None else copies["row"]
    else:
        found = surveys.overlapping(dataset_id, chosen.removeprefix(OVERLAP))
    if found is None:
        raise DatasetError(f"The {chosen} have not been counted yet. Wait for their count above, or choose another.")
    return np.asarray(found, np.int64)


def _found(rows: StoredRows, places: Places, text: str, start: int) -> tuple[list[int], int]:
    """The places of one page, and where the next begins."""
    if not text:
        end = min(start + PAGE, len(places))
        return [int(place) for place in places[start:end]], end
    deadline, found = time.monotonic() + PATIENCE, list[int]()
    for first in range(start, len(places), STRIDE):
        for at in matching(rows, places[first : first + STRIDE], text):
            found.append(int(places[first + at]))
            if len(found) == PAGE:
                return found, first + at + 1
        if time.monotonic() > deadline:
            return found, min(first + STRIDE, len(places))
    return found, len(places)


def matching(rows: StoredRows, places: Places, text: str) -> Iterator[int]:
    """Which of these rows say the text somewhere, whatever its case."""
    wanted = text.casefold()
    # Of most rows the stored bytes show that they do not: no need to decode these.
    stored = json.dumps(text, ensure_ascii=False)[1:-1].encode()
    hint = re.compile(re.escape(stored), re.IGNORECASE).search if text.isascii() else None
    for at, place in enumerate(places):
        if hint and not hint(rows.line(int(place))):
            continue
        if any(wanted in message["content"].casefold() for message in rows[int(place)].messages):
            yield at


def _shown(rows: StoredRows, place: int, bound: float) -> Shown:
    row: Row = rows[place]
    return Shown(place, row.line, pieces_of(row), row.lot < bound, row.repaired)
