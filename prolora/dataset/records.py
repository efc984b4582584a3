"""Canonical rows: what they are, how they are stored, and which of them are held out."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from prolora.chat import Message


@dataclass(frozen=True)
class Row:
    """One conversation that ends with the assistant, and the line of the file where it began."""

    messages: tuple[Message, ...]
    line: int

    @cached_property
    def content_hash(self) -> str:
        return _sha256(json.dumps(self.messages, ensure_ascii=False, sort_keys=True))

    @property
    def prompt(self) -> str:
        """The first question: what decides on which side of the split a row lies.

        Conversations that open alike lie on one side, however they go on.
        """
        return next(message["content"] for message in self.messages if message["role"] == "user")


@dataclass(frozen=True)
class Reject:
    """A row that was left out, and why."""

    line: int
    reason: str  # a sentence
    code: str
    raw: str  # the row's text, shortened
    field: str = ""  # the file's own field, where the fault is one field's
    original: bytes = b""  # the row as it stands in the file; not read back from a stored list


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _lot(row: Row) -> float:
    """A number in [0, 1) drawn from the prompt; case and spacing do not count."""
    return int(_sha256(" ".join(row.prompt.split()).casefold())[:13], 16) / 16**13


def held_out(row: Row, share: float = 0.1) -> bool:
    return _lot(row) < share


def split(rows: Sequence[Row], share: float = 0.1) -> tuple[list[Row], list[Row]]:
    """(train, held out). Two different prompts or more leave neither side empty."""
    lots = [_lot(row) for row in rows]
    if not lots:
        return [], []
    # Where so few rows draw no lot under `share`, the lowest lot is held out; and the highest is always trained.
    limit = min(max(share, min(lots) + 16**-13), max(lots))
    train = [row for row, lot in zip(rows, lots, strict=True) if lot >= limit]
    return train, [row for row, lot in zip(rows, lots, strict=True) if lot < limit]


def hash_of(rows: Iterable[Row]) -> str:
    """Of what is said, in order; line numbers do not count."""
    return _sha256("\n".join(row.content_hash for row in rows))


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps({"messages": row.messages, "line": row.line}, ensure_ascii=False) + "\n")


def read_rows(path: Path) -> list[Row]:
    # Not splitlines: a text may hold U+2028, which ends a line for Python but not for JSON.
    with path.open(encoding="utf-8", newline="\n") as file:
        stored = [json.loads(line) for line in file]
    return [Row(tuple(row["messages"]), row["line"]) for row in stored]
