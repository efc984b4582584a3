"""Plain text: a paragraph is a row."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from prolora.dataset.container import Frame, FromSource
from prolora.dataset.element import ROW_LIMIT, Element, text_of, too_long

PIECE = 1 << 20  # bytes of a line read at a time


class PlainText(FromSource):
    """Paragraphs, between blank lines."""

    kind, frame = "text", Frame(between=b"\n\n", suffix=".txt")
    told = ("Nothing in it looks like JSON or a table: plain text, whose paragraphs between blank lines are the rows.",)

    def rows(self) -> Iterator[Element]:
        with self.source.open() as file:
            yield from _paragraphs(file)


def _paragraphs(file: BinaryIO) -> Iterator[Element]:
    line = first = 1
    size, held, begins = 0, list[bytes](), True
    while piece := file.readline(PIECE):
        if begins and not piece.strip():
            yield from _paragraph(first, held, size)
            size, held = 0, []
        else:
            first = first if held else line
            size += len(piece)
            if size <= ROW_LIMIT:
                held.append(piece)
        begins = piece.endswith(b"\n")
        line += begins
    yield from _paragraph(first, held, size)


def _paragraph(line: int, held: Sequence[bytes], size: int) -> Iterator[Element]:
    raw = b"".join(held).rstrip(b"\r\n")
    if size > ROW_LIMIT:
        yield too_long(line, raw)
    elif held:
        yield Element(line, text_of(raw), raw)
