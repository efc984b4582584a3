"""Canonical rows: what they are, and which of them are held out."""

import hashlib
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from prolora.chat import Message

SHARE = 0.1  # of the rows is held out
DIGEST = 16  # bytes kept of a row's sha256
TWO_BLANKS = re.compile(b"  ")
BLANKS = b"\t\n\v\f\r\x1c\x1d\x1e\x1f"  # all that str.split takes for one in ASCII
PLAIN = bytes.maketrans(BLANKS + string.ascii_uppercase.encode(), b" " * len(BLANKS) + string.ascii_lowercase.encode())
Lots = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One conversation that ends with the assistant, or one text, and the line of the file where it began."""

    messages: tuple[Message, ...]
    line: int
    repaired: tuple[str, ...] = ()  # codes of the repairs that were made

    @property
    def canonical(self) -> bytes:
        return canonical_of(self.messages)

    @property
    def digest(self) -> bytes:
        return digest_of(self.canonical)

    @property
    def prompt(self) -> str:
        return prompt_of(self.messages)

    @property
    def lot(self) -> float:
        """A number in [0, 1) drawn from the prompt; case and spacing do not count."""
        return float(lots_of(draw(self.messages))[0])


@dataclass(frozen=True)
class Reject:
    """A row that was left out, and why."""

    line: int
    reason: str  # a sentence
    code: str
    raw: str  # the row's text, shortened
    field: str = ""  # the file's own field, where the fault is one field's
    repair: str = ""  # code of the repair that would rescue it
    original: bytes = b""  # the row as it stands in the file; not read back from a stored list


def canonical_of(messages: Sequence[Message]) -> bytes:
    """What is said, as JSON."""
    return orjson.dumps(messages, option=orjson.OPT_SORT_KEYS)


def prompt_of(messages: Sequence[Message]) -> str:
    """The first question, or a whole text: what decides on which side of the split a row lies.

    Conversations that open alike lie on one side, however they go on.
    """
    for message in messages:
        if message["role"] in ("user", "text"):
            return message["content"]
    raise ValueError("a row without a question or a text")


def draw(messages: Sequence[Message]) -> bytes:
    """A row's lot as eight bytes."""
    return hashlib.sha256(_plain(prompt_of(messages))).digest()[:8]


def lots_of(draws: bytes) -> Lots:
    """What was drawn for one row after the other, as numbers."""
    lots: Lots = (np.frombuffer(draws, ">u8") >> 12) / 16**13
    return lots


def _plain(text: str) -> bytes:
    """One blank between words, and none but small letters."""
    if not text.isascii():
        return " ".join(text.split()).casefold().encode()
    plain = text.encode().translate(PLAIN).strip(b" ")  # the same, without cutting it into words
    while TWO_BLANKS.search(plain):
        plain = plain.replace(b"  ", b" ")
    return plain


def held_out(row: Row, share: float = SHARE) -> bool:
    return row.lot < share


def limit(lots: Lots, share: float = SHARE) -> float:
    """The lot under which a row is held out. Two different prompts or more leave neither side empty.

    Where so few rows draw no lot under `share`, the lowest lot is held out; and the highest is always trained.
    """
    return float(min(max(share, lots.min() + 16**-13), lots.max())) if len(lots) else share


def split(rows: Sequence[Row], share: float = SHARE) -> tuple[Sequence[Row], Sequence[Row]]:
    """(train, held out)."""
    from prolora.dataset.stored import StoredRows  # which builds on this module

    if isinstance(rows, StoredRows):
        apart = rows.lots < limit(rows.lots, share)
        return rows.take(np.flatnonzero(~apart)), rows.take(np.flatnonzero(apart))
    lots = np.array([row.lot for row in rows])
    apart = lots < limit(lots, share)
    train = [row for row, out in zip(rows, apart, strict=True) if not out]
    return train, [row for row, out in zip(rows, apart, strict=True) if out]


def digest_of(canonical: bytes) -> bytes:
    return hashlib.sha256(canonical).digest()[:DIGEST]


def hash_of(rows: Iterable[Row]) -> str:
    """Of what is said, in order; line numbers do not count."""
    return hashlib.sha256(b"".join(row.digest for row in rows)).hexdigest()
