"""Reading a benchmark's own files, each of which is held in memory whole."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prolora.errors import StudioError

LARGEST = 32 << 20  # bytes of a file, unpacked
GZIP = b"\x1f\x8b"
CHOICES = ("choice0", "choice1", "choice2", "choice3")
TABLE = ("question", *CHOICES, "answer")  # of MMLU, whose first files have no line that says so
Record = tuple[int, Any]  # what stands in the file, and on which line or as which example


class BenchmarkError(StudioError):
    """A file that holds no test items, or a benchmark that is not there."""


@dataclass(frozen=True)
class Layout:
    """A benchmark's own way of writing an item, and the fields that give it away together."""

    name: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Items:
    """The test items of a file, each as one text."""

    layout: Layout
    texts: tuple[str, ...]


# The first whose fields an item has is meant.
LAYOUTS = (
    Layout("MMLU", ("question", *CHOICES)),
    Layout("GSM8K", ("question", "answer")),
    Layout("BBH", ("input", "target")),
    Layout("HumanEval", ("prompt", "canonical_solution")),
)


def read_items(path: Path) -> Items:
    """GSM8K's and HumanEval's JSON lines, BBH's JSON, MMLU's CSV; any of them in gzip. Raises BenchmarkError."""
    records = list(_records(_text(path)))
    first = records[0][1] if records else None
    layout = next((each for each in LAYOUTS if isinstance(first, dict) and first.keys() >= set(each.fields)), None)
    if layout is None:
        names = ", ".join(f"{each.name} ({', '.join(each.fields)})" for each in LAYOUTS)
        raise BenchmarkError(f"{path.name} holds no test items of a known layout. Known are {names}.")
    return Items(layout, tuple(_item(layout, record, f"{path.name}, item {place}") for place, record in records))


def _item(layout: Layout, record: Any, place: str) -> str:
    parts = []
    for field in layout.fields:
        part = record.get(field) if isinstance(record, dict) else None
        if not isinstance(part, str):
            raise BenchmarkError(f"{place}: {layout.name}'s “{field}” is missing or no text. Copy the file again.")
        parts.append(part)
    return "\n".join(parts)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP)) == GZIP
        with gzip.open(path) if packed else path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise BenchmarkError(f"{path.name} holds more than {LARGEST >> 20} MiB. Give the test items alone.")
        return text.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path.name} cannot be read ({error}). Copy the file again.") from error


def _records(text: str) -> Iterator[Record]:
    """Counted from 1; nothing where the text is of no known kind."""
    whole = _json(text)
    if isinstance(whole, dict) and isinstance(whole.get("examples"), list):
        yield from enumerate(whole["examples"], 1)
    elif text.lstrip().startswith("{"):
        lines = (line for line in text.split("\n") if line.strip())
        yield from ((place, _json(line)) for place, line in enumerate(lines, 1))
    else:
        yield from _table(text)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _table(text: str) -> Iterator[Record]:
    """A row of another number of fields is no item."""
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        return
    named = rows and rows[0][0].strip().lower() == "question"
    for place, row in enumerate(rows[1:] if named else rows, 1):
        yield place, dict(zip(TABLE, row, strict=True)) if len(row) == len(TABLE) else None
