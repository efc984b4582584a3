"""Why a row is left out, and the words for it."""

from typing import Any

import orjson

from prolora.dataset.element import printable


class BadRow(Exception):  # noqa: N818
    """Why a row is left out: a code, the sentence without its “Line 48”, and the field of the file if it is one's.

    `repair` is the code of the repair that would rescue the row, if there is one.
    """

    def __init__(self, code: str, what: str, field: str = "", repair: str = "") -> None:
        super().__init__(what)
        self.code, self.field, self.repair = code, field, repair


def with_article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = {int: "a number", float: "a number", list: "a list", dict: "an object", str: "text", type(None): "nothing"}
    return kinds.get(type(value), "something else")


def shown(value: Any) -> str:
    """A short text in quotes, or what it is instead of text."""
    return f"“{printable(value[:30])}”" if isinstance(value, str) else kind(value)


def sound(text: str) -> str:
    """The text itself, unless some of it is no character: half a surrogate pair, or bytes that were not UTF-8."""
    if not text.isascii():
        try:
            orjson.dumps(text)  # unlike encode leaves the UTF-8 with the text, which is soon written out
        except orjson.JSONEncodeError as error:
            raise BadRow("broken-character", "holds a broken character. Save the file as UTF-8 and mend it") from error
    return text
