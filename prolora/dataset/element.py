"""The rows of a file before anybody knows what they mean: a value each, with its place and its own bytes."""

import codecs
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

ROW_LIMIT = 16 << 20  # bytes of one row; a longer one is no example any model could read
LONGEST_INT = 4000  # digits; Python refuses to read longer ones
LONGEST_NAME = 80  # characters of a name that are shown
SHOWN = 500  # characters of a bad row that are shown
NAMED = re.compile(rb'"[ \t\r\n]*:')  # what ends a field's name, and may stand in a text too

Problem = tuple[str, str]  # a code, and what is wrong


class Element(NamedTuple):
    """One row of the file. `problem` says why it is no sound value."""

    line: int
    value: Any
    raw: bytes
    problem: Problem | None = None


class Flaws:
    """Decodes JSON and notes what it holds that JSON readers disagree about."""

    def __init__(self) -> None:
        self.found: list[Problem] = []
        self.are_text = True  # all lines so far: UTF-8 without a zero byte
        self.decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant, parse_int=_whole_number
        )

    def decode(self, text: str, start: int) -> tuple[Any, int, Problem | None]:
        """The value at `start`, where it ends, and its first flaw. Raises JSONDecodeError and RecursionError."""
        self.found.clear()
        value, end = self.decoder.raw_decode(text, start)
        return value, end, self.found[0] if self.found else None

    def element(self, raw: bytes, number: int) -> Element:
        """One line of JSONL, which must be one value."""
        if (plain := undisputed(raw)) is not None:
            return Element(number, plain, raw)
        self.are_text = self.are_text and _is_text(raw)
        text = text_of(raw)
        try:
            value, end, problem = self.decode(text, 0)
        except json.JSONDecodeError as error:
            broken = f"is not valid JSON ({error.msg.lower()} at column {error.colno}). Mend it"
            return Element(number, None, raw, ("not-json", broken))
        except RecursionError:
            return Element(number, None, raw, ("not-json", "is nested too deeply. Flatten it"))
        if end < len(text):
            return Element(
                number, None, raw, ("not-json", f"goes on after its object ends at column {end + 1}. Cut it")
            )
        return Element(number, value, raw, problem)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            self.found.append(("repeated-field", f"names the field “{twice[:40]}” twice. Keep one of them"))
        return value

    def _constant(self, name: str) -> None:
        self.found.append(("not-a-number", f"holds {name}, which is not JSON. Replace it"))


def undisputed(raw: bytes) -> Any:
    """The value of JSON that has no flaw for certain, in half the time; nothing where a closer look is needed."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if len(NAMED.findall(raw)) == _fields(value) else None


def _fields(value: Any) -> int:
    """How many fields the objects in a value have; of those with one name only the last has come through."""
    count, rest = 0, [value]
    while rest:
        each = rest.pop()
        if isinstance(each, dict):
            count += len(each)
            each = each.values()
        elif not isinstance(each, list):
            continue
        rest += [inner for inner in each if not isinstance(inner, str)]
    return count


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in raw


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < LONGEST_INT else float(digits)


def text_of(raw: bytes) -> str:
    """Bytes that are not UTF-8 become lone surrogates, which the rows' own check then finds."""
    return raw.decode("utf-8", errors="surrogateescape")


def too_long(line: int, raw: bytes) -> Element:
    what = f"is longer than {ROW_LIMIT >> 20} MB, which is no example a model could read. Cut it into several"
    _, whole = codecs.utf_8_decode(raw[:SHOWN], "surrogateescape", False)  # no character is cut in two
    return Element(line, None, raw[:whole], ("too-long", what))


def enumerated(names: Sequence[str], most: int = 20) -> str:
    """The first of the names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(printable(name[-LONGEST_NAME:]) for name in names[:most]) + more


def printable(text: str) -> str:
    """The text with a question mark for everything that is no character, so that it can be shown and stored."""
    return text.encode(errors="replace").decode().replace("\0", "?")
