"""Runs of words as 64-bit numbers, the same on every machine: what duplicates and overlaps are found by."""

import unicodedata
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

BASE = 0x9E3779B97F4A7C15  # of the polynomial; odd, so that no power of it loses bits
WORDS_KEPT = 1 << 17  # hashes remembered at a time, some 25 MB
LONGEST_KEPT = 64  # characters; longer words hardly come twice
# Scripts written without spaces between words: there every character counts as a word.
UNSPACED = ("CJK ", "HIRAGANA ", "KATAKANA ", "THAI ", "LAO ", "KHMER ", "MYANMAR ")


class Letters(dict[int, str]):
    """For `str.translate`: letters, digits and their marks stay, what is invisible goes, all else parts words."""

    def __missing__(self, code: int) -> str:
        self[code] = kept = _kept(chr(code))
        return kept


def _kept(character: str) -> str:
    category, name = unicodedata.category(character), unicodedata.name(character, "")
    if category in {"Cf", "Me"} or name.startswith("VARIATION SELECTOR"):
        return ""
    if not character.isalnum() and category not in {"Mn", "Mc"}:
        return " "
    return f" {character} " if name.startswith(UNSPACED) else character


class WordHashes(dict[str, bytes]):
    """The eight bytes of each word's hash; forgets everything when it is full, which costs less than choosing."""

    def __missing__(self, word: str) -> bytes:
        value = blake2b(word.encode(), digest_size=8).digest()
        if len(self) >= WORDS_KEPT:
            self.clear()
        if len(word) <= LONGEST_KEPT:
            self[word] = value
        return value


_letters, _hashes = Letters(), WordHashes()


def words(text: str) -> list[str]:
    """The words of a text, casefolded and composed (NFC); punctuation, spacing and underscores only part them."""
    letters = unicodedata.normalize("NFC", text).casefold().translate(_letters)
    return unicodedata.normalize("NFC", letters).split()


def shingles(text: str, size: int) -> Hashes:
    """The hash of every run of `size` words of the text, in order; none where it has fewer words."""
    return runs(words(text), size)


def runs(found: Sequence[str], size: int) -> Hashes:
    """The hash of every run of `size` of these words, in order: a polynomial of the words' hashes modulo 2^64."""
    if len(found) < size:
        return np.empty(0, np.uint64)
    return _rolled(np.frombuffer(b"".join(map(_hashes.__getitem__, found)), "<u8"), size)


def _rolled(single: Hashes, size: int) -> Hashes:
    """Runs of `size` from runs of half of it, so that the passes over the words grow with size's logarithm."""
    if size == 1:
        return single
    half = size // 2
    halves = _rolled(single, half)
    run = halves[:-half] * np.uint64(pow(BASE, half, 1 << 64)) + halves[half:]
    return run if size % 2 == 0 else run[:-1] * np.uint64(BASE) + single[size - 1 :]
