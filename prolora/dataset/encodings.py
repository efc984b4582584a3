"""In which encoding a file is written: told from all of its bytes, and recoded to UTF-8 while it streams."""

import codecs
import io
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from prolora.errors import DatasetError

# Python's name for an encoding -> the name people know it by. The first five are told from the bytes.
ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16, little end first",
    "utf-16-be": "UTF-16, big end first",
    "cp1252": "Windows-1252",
    "iso8859-1": "Latin-1",
    "cp1251": "Windows-1251",
    "gb18030": "GB 18030",
    "big5": "Big5",
    "shift_jis": "Shift JIS",
    "euc_kr": "EUC-KR",
}
GUESSES = ("cp1252", "iso8859-1")  # what is read so may be any other encoding of a byte a character
MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
WIDE_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
NOT_IN_CP1252 = b"\x81\x8d\x8f\x90\x9d"
FIRST = set(map(chr, (9, 10, 13, *range(32, 127))))  # characters that UTF-16 without a mark may begin with
ONE_SIDED = 3  # times as many zero bytes on the one side of UTF-16's pairs as on the other
SAVE = "Save it as JSON, JSONL or CSV in UTF-8."
BLOCK = 1 << 20  # bytes looked at together
PIECE = 1 << 18  # bytes recoded together; no more than fourfold in UTF-8
NO_UTF_8 = b"\xff"  # stands for a character cut off at the file's end, so that its row is found broken


@dataclass
class Census:
    """What there is in all of a file's bytes."""

    head: bytes = b""
    filled: bool = False
    size: int = 0
    first_zero: int | None = None
    even_zeros: int = 0
    odd_zeros: int = 0
    characters: int = 0  # of more than one byte in UTF-8; neither they nor broken bytes count once there was a zero
    broken: int = 0  # bytes that are no UTF-8
    outside_cp1252: bool = False

    @property
    def is_text(self) -> bool:
        """UTF-8 without a zero byte."""
        return self.filled and self.first_zero is None and not self.broken


def census(file: BinaryIO) -> Census:
    found, cut = Census(), b""
    while data := file.read(BLOCK):
        found.head = found.head or data[:4]
        found.filled = found.filled or bool(data.removeprefix(codecs.BOM_UTF8).strip())
        if b"\0" in data:
            _count_zeros(found, data)
        elif cut or not data.isascii():
            cut = _count_characters(found, cut + data)
        found.size += len(data)
    found.broken += len(cut)
    return found


def _count_zeros(found: Census, data: bytes) -> None:
    if found.first_zero is None:
        found.first_zero = found.size + data.index(0)
    zero = np.frombuffer(data, np.uint8) == 0
    first, second = int(np.count_nonzero(zero[::2])), int(np.count_nonzero(zero[1::2]))
    if found.size % 2:
        first, second = second, first
    found.even_zeros += first
    found.odd_zeros += second


def _count_characters(found: Census, data: bytes) -> bytes:
    """Returns what there is of a character that goes on in the next block."""
    found.outside_cp1252 = found.outside_cp1252 or any(byte in data for byte in NOT_IN_CP1252)
    try:
        text, used = codecs.utf_8_decode(data, "strict", False)
    except UnicodeDecodeError:
        text, used = codecs.utf_8_decode(data, "ignore", False)
        found.broken += used - len(text.encode())
    found.characters += len(text) - int(np.count_nonzero(np.frombuffer(data, np.int8) >= 0))
    return data[used:]


def detect(found: Census, name: str) -> tuple[str, str]:
    """(encoding, how it was told: a sentence, or nothing for UTF-8). Raises DatasetError when the file is no text."""
    if found.head in WIDE_MARKS:
        raise DatasetError(f"{name} looks like text in UTF-32. {SAVE}")
    for mark, encoding in MARKS.items():
        if found.head.startswith(mark):
            return encoding, f"Its byte order mark says {ENCODINGS[encoding]} ({encoding})."
    if found.first_zero is not None:
        return _by_zeros(found, name)
    if not found.broken:
        return "utf-8", ""
    if found.characters > found.broken or found.head.startswith(codecs.BOM_UTF8):
        return "utf-8", f"It is UTF-8 but for {found.broken:,} bytes; the rows that hold them are left out."
    encoding = "iso8859-1" if found.outside_cp1252 else "cp1252"
    return encoding, f"Its bytes are no UTF-8; read as {ENCODINGS[encoding]} ({encoding})."


def _by_zeros(found: Census, name: str) -> tuple[str, str]:
    """UTF-16 without a mark begins with an ASCII character, and its zero bytes stand on one side of the pairs."""
    sides = {"utf-16-le": (found.odd_zeros, found.even_zeros), "utf-16-be": (found.even_zeros, found.odd_zeros)}
    for encoding, (many, few) in sides.items():
        if many >= ONE_SIDED * few and found.head[:2].decode(encoding, errors="replace") in FIRST:
            return encoding, f"Every other byte of its ASCII is zero; read as {ENCODINGS[encoding]} ({encoding})."
    raise binary(found, name)


def binary(found: Census, name: str) -> DatasetError:
    return DatasetError(f"{name} looks like a binary file: its byte {(found.first_zero or 0) + 1:,} is zero. {SAVE}")


def chosen(encoding: str, head: bytes) -> str:
    """Python's name for an encoding that a person asked for, for a file that begins so."""
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        name = ""
    if name == "utf-16":  # which end comes first is the mark's to say
        return MARKS.get(head[:2], "utf-16-le")
    if name not in ENCODINGS:
        raise DatasetError(f"“{encoding}” is no encoding that can be read. Choose one of {', '.join(ENCODINGS)}.")
    return name


def recoded(file: "io.BufferedReader[Any]", encoding: str) -> "io.BufferedReader[Any]":
    """The file in UTF-8, behind its byte order mark. What is no character of its encoding is no UTF-8 either."""
    text = file if encoding == "utf-8" else io.BufferedReader(Recoded(file, encoding), BLOCK)
    if text.peek(len(codecs.BOM_UTF8)).startswith(codecs.BOM_UTF8):
        text.read(len(codecs.BOM_UTF8))
    return text


class Recoded(io.RawIOBase):
    """A file in another encoding as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file, self._errors, self._ready = file, _errors(encoding), b""
        self._decoder = codecs.getincrementaldecoder(encoding)(self._errors)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        while not self._ready and (data := self._file.read(PIECE)):
            self._ready = self._decoder.decode(data).encode("utf-8", self._errors)
        self._ready = self._ready or self._last()
        piece, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _last(self) -> bytes:
        try:
            text = self._decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            self._decoder.reset()
            return NO_UTF_8
        return text.encode("utf-8", self._errors)


def written_back(text: bytes, encoding: str) -> bytes:
    """What was recoded to UTF-8 in the file's own encoding again."""
    if encoding in ("", "utf-8"):
        return text
    errors = _errors(encoding)
    try:
        characters = text.removesuffix(NO_UTF_8).decode("utf-8", errors)
    except UnicodeDecodeError:  # only the beginning of it is there, since it was too long
        characters = text.decode("utf-8", "ignore")
    return characters.encode(encoding, errors)


def mark_of(encoding: str) -> bytes:
    """What a file in this encoding begins with, where it could be taken for another without it."""
    return next((mark for mark, name in MARKS.items() if name == encoding), b"")


def _errors(encoding: str) -> str:
    """Half a surrogate pair stays one; a byte that is no character stays the byte. Neither is sound UTF-8."""
    return "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape"
