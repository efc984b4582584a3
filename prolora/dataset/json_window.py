"""A window that slides over a JSON text: rows of a list one by one, without holding the file."""

import codecs
import json
import re
from typing import Any, BinaryIO

from prolora.dataset.element import ROW_LIMIT, Element, Flaws, printable
from prolora.errors import DatasetError

READ = 1 << 20
BLANK = re.compile(r"[ \t\r\n]*")
MARGIN = 16  # characters before the window's end within which an error may come from the cut


class Window:
    """Reads forward only. `line` and `column` are those of the next character, counted from 1."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.file, self.name = file, name
        self.flaws = Flaws()
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape").decode
        self._text, self._at, self._whole = "", 0, False
        self.line, self.column = 1, 1

    def peek(self) -> str:
        """The next character that is not blank, or nothing at the end."""
        while True:
            self._pass(_end_of_blank(self._text, self._at))
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, mark: str) -> bool:
        """Step over `mark` if it is what comes next."""
        if self.peek() != mark:
            return False
        self._pass(self._at + 1)
        return True

    def value(self) -> Element:
        """The next value, whatever it is; raises DatasetError with the place when it is none."""
        if not self.peek():
            raise self.broken("The list breaks off")
        line = self.line
        value, end, problem = self._decoded()
        raw = self._text[self._at : end].encode("utf-8", errors="surrogateescape")
        self._pass(end)
        return Element(line, value, raw, problem)

    def broken(self, what: str) -> DatasetError:
        return self._broken(what, self._at)

    def _decoded(self) -> tuple[Any, int, tuple[str, str] | None]:
        while True:
            try:
                value, end, problem = self.flaws.decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._cut_off(error) and self._more():
                    continue
                raise self._broken(f"This is not valid JSON ({error.msg.lower()})", error.pos) from error
            except RecursionError as error:
                raise self.broken("A row is nested too deeply") from error
            if end < len(self._text) or not self._more():  # else a number may go on
                return value, end, problem

    def _cut_off(self, error: json.JSONDecodeError) -> bool:
        return error.pos > len(self._text) - MARGIN or error.msg.startswith("Unterminated string")

    def _more(self) -> bool:
        """Read on; what is done with falls out of the window."""
        if self._whole:
            return False
        if len(self._text) - self._at > ROW_LIMIT:
            raise self.broken(f"A row is longer than {ROW_LIMIT >> 20} MB")
        # Twice as much each time, so that a long row is not begun anew for every piece of it.
        data = self.file.read(max(READ, len(self._text) - self._at))
        self._whole = not data
        self._text = self._text[self._at :] + self._decode(data, final=self._whole)
        self._at = 0
        return True

    def _pass(self, end: int) -> None:
        self.line, self.column = self._place(end)
        self._at = end

    def _place(self, position: int) -> tuple[int, int]:
        breaks = self._text.count("\n", self._at, position)
        if breaks:
            return self.line + breaks, position - self._text.rfind("\n", self._at, position)
        return self.line, self.column + position - self._at

    def _broken(self, what: str, position: int) -> DatasetError:
        line, column = self._place(position)
        return DatasetError(
            f"{printable(what)}: {self.name}, line {line}, column {column}. Mend the file there, or save it as JSONL."
        )


def _end_of_blank(text: str, start: int) -> int:
    found = BLANK.match(text, start)
    return found.end() if found else start
