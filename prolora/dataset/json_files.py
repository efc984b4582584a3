"""JSONL, a JSON list, a list inside an object, and a lone object."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from prolora.dataset.container import Frame, FromSource
from prolora.dataset.element import ROW_LIMIT, Element, Flaws, enumerated, printable, text_of, too_long
from prolora.dataset.json_window import Window
from prolora.dataset.stream import Source

PEEK_LINES = 20  # looked at to tell JSONL from JSON
PEEK = 1 << 20  # bytes read at a time
BLOCK = 1 << 20  # bytes of lines that are handed on together; more fall out of a processor's caches
SPEAKERS = frozenset({"role", "from"})  # the field of a turn that says whose it is
# A list under one of these names holds the turns of one conversation, not rows.
TURNS = frozenset({"messages", "conversations", "conversation", "prompt", "completion", "history", "turns"})


@dataclass(frozen=True)
class Block:
    """Some lines of a file, the first of which has this number."""

    line: int
    data: bytes
    start: int = 0  # where in the text it begins


@dataclass(frozen=True)
class Stretch:
    """A block that is read where it is needed."""

    line: int
    path: Path
    start: int
    size: int

    @property
    def data(self) -> bytes:
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), self.size, self.start)


class JsonLines(FromSource):
    """One JSON object a line."""

    kind = "JSONL"
    told = ("One JSON value a line: JSONL.",)

    def rows(self) -> Iterator[Element]:
        for block in self.blocks():
            yield from elements_of(block, Flaws())

    def blocks(self) -> Iterator[Block]:
        """Whole lines, some megabytes at a time; a line that is too long is cut."""
        line = 1
        with self.source.open() as file:
            start = file.tell() if self.source.is_plain else 0
            while data := file.read(BLOCK):
                if not data.endswith(b"\n"):
                    data += file.readline(ROW_LIMIT + 1)
                yield Block(line, data, start)
                line += data.count(b"\n")
                start += len(data)
                if not data.endswith(b"\n"):
                    start += _pass_line(file)
                    line += 1

    def pieces(self) -> Iterator[Block | Stretch]:
        """The blocks as other processes are given them: by their place alone where the stored file is the text."""
        for block in self.blocks():
            where = (block.line, self.path, block.start, len(block.data))
            yield Stretch(*where) if self.source.is_plain else block


def elements_of(block: Block | Stretch, flaws: Flaws) -> Iterator[Element]:
    """The rows of some lines."""
    for number, line in enumerate(_lines(block.data), start=block.line):
        if len(line) > ROW_LIMIT:
            flaws.are_text = False  # not for certain: only its beginning is there
            yield too_long(number, line)
        elif bare := line.strip(b" \t\r"):
            yield flaws.element(bare, number)


def _lines(data: bytes) -> Iterator[bytes]:
    """One after the other: a list of all would hold, and have to find, as much memory again."""
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        yield data[start:end]
        start = end + 1
    yield data[start:]


def _pass_line(file: BinaryIO) -> int:
    """To the end of a line, without holding it; returns how many bytes that were."""
    passed = 0
    while piece := file.readline(PEEK):
        passed += len(piece)
        if piece.endswith(b"\n"):
            break
    return passed


class JsonDocument(FromSource):
    """One JSON value over the whole file: a list of rows, an object that holds one, or a lone row."""

    kind, frame = "JSON", Frame(b"[\n", b",\n", b"\n]\n", ".json")

    def rows(self) -> Iterator[Element]:
        with self.source.open() as file:
            yield from self._rows(Window(file, self.source.name))

    def _rows(self, window: Window) -> Iterator[Element]:
        what = "object"
        if window.take("["):
            what = "list"
            yield from _listed(window)
            self.told = ("One list over the whole file: JSON.",)
        else:
            yield from self._wrapped(window)
        if window.peek():
            raise window.broken(f"There is more text after the {what} ends")

    def _wrapped(self, window: Window) -> Iterator[Element]:
        """The rows of the one list of objects in an object; without one the object itself is a row."""
        start, names, size, rows_in = window.line, list[str](), 0, ""
        window.take("{")
        while not window.take("}"):
            if names and not window.take(","):
                raise window.broken("There is no comma or closing brace here")
            name = _name(window)
            names.append(name)
            is_list = window.peek() == "[" and name not in TURNS and window.take("[")
            if is_list and window.peek() in ("{", "["):
                if rows_in:
                    raise window.broken(
                        f"There are two lists of rows, “{rows_in}” and “{name}”. Save each as its own file"
                    )
                rows_in = name
                yield from _listed(window)
                continue
            for element in _listed(window) if is_list else [window.value()]:
                size += len(element.raw)
                if size > ROW_LIMIT:
                    raise window.broken(f"What is no list of rows is longer than {ROW_LIMIT >> 20} MB")
        if rows_in:
            others = [name for name in names if name != rows_in]
            beside = f" Beside it stood, not used: {enumerated(others)}." if others else ""
            self.told = (f"A list under “{printable(rows_in)}” in one object: JSON.{beside}",)
        else:
            self.told = ("One object over the whole file: JSON with a single row.",)
            yield self._lone(start)

    def _lone(self, line: int) -> Element:
        """The object over the whole file as a row, as it stands there."""
        with self.source.open() as file:
            return Flaws().element(file.read(2 * ROW_LIMIT).strip(), line)


def _name(window: Window) -> str:
    name = window.value().value if window.peek() == '"' else None
    if not isinstance(name, str):
        raise window.broken("A field has no name in quotes")
    if not window.take(":"):
        raise window.broken("There is no colon after a field's name")
    return name


def _listed(window: Window) -> Iterator[Element]:
    """The elements of a list whose bracket has been passed, and the closing bracket."""
    if window.take("]"):
        return
    while True:
        yield window.value()
        if window.take("]"):
            return
        if not window.take(","):
            mark = window.peek()
            raise window.broken(
                f"There is “{mark}” instead of a comma or the closing bracket" if mark else "The list breaks off"
            )
        if window.peek() == "]":
            raise window.broken("There is a comma before the closing bracket")


def json_container(source: Source) -> JsonLines | JsonDocument | None:
    """JSONL or JSON, by how the file begins; None when it is neither."""
    lines = _first_lines(source)
    start = lines[0][:1] if lines else b""
    if start == b"[":
        turns = len(lines) > 1 and all(_is_turns(_value(line)) for line in lines[:2])
        return JsonLines(source) if turns else JsonDocument(source)
    whole = [isinstance(_value(line), dict) for line in lines]
    # A broken first line does not make JSONL something else; a list spread over lines has few whole objects.
    if len(whole) > 1 and (start != b"{" or whole[0] or 2 * sum(whole) >= len(whole)):
        return JsonLines(source) if any(whole) else None
    return JsonDocument(source) if start == b"{" else None


def _first_lines(source: Source) -> list[bytes]:
    """Those that are not blank; the last one may be cut where a file goes on."""
    with source.open() as file:
        head = file.read(PEEK)
        if b"\n" not in head.strip():
            head += file.read(ROW_LIMIT)
    filled = (line.strip() for line in head.split(b"\n"))
    return list(islice((line for line in filled if line), PEEK_LINES))


def _value(line: bytes) -> Any:
    """What the line is as JSON; nothing where it is none."""
    try:
        return json.loads(text_of(line), parse_int=float)
    except (ValueError, RecursionError):
        return None


def _is_turns(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(turn, dict) and turn.keys() & SPEAKERS for turn in value)
