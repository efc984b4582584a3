import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolora.dataset.shingles import WORDS_KEPT, WordHashes, runs, shingles, words

WORDS = st.lists(st.text("abcxyzäéßΐж一ひ019", min_size=1, max_size=6), max_size=40)
BETWEEN = st.sampled_from([" ", "\n", ", ", "... ", " - ", "_", "\u00a0", "!? ", " \u201c", "\u2019"])


@given(st.text())
def test_any_text_has_words_which_are_their_own_words(text: str) -> None:
    found = words(text)
    assert [again for word in found for again in words(word)] == found


@given(WORDS, st.data())
def test_punctuation_spacing_and_case_do_not_count(found: list[str], data: st.DataObject) -> None:
    spoken = "".join(
        data.draw(st.sampled_from([str.upper, str.title, str.lower]))(word) + data.draw(BETWEEN) for word in found
    )
    assert words(spoken) == words(" ".join(found))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't pay 1,000.50 €!", ["don", "t", "pay", "1", "000", "50"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("cafe\u0301 caf\u00e9", ["caf\u00e9", "caf\u00e9"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("我爱 Python3", ["我", "爱", "python3"]),
        ("soft\u00adhyphen ❤\ufe0f", ["softhyphen"]),
        ("a lone \ud800 surrogate", ["a", "lone", "surrogate"]),
        ("?! ... \n", []),
    ],
)
def test_words_are_letters_and_digits_of_any_script(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(WORDS, st.integers(1, 16))
def test_two_runs_have_one_hash_exactly_where_their_words_are_the_same(found: list[str], size: int) -> None:
    pieces = [tuple(found[start : start + size]) for start in range(len(found) - size + 1)]
    hashes = runs(found, size).tolist()
    assert len(hashes) == len(pieces)
    assert len(set(zip(hashes, pieces, strict=True))) == len(set(hashes)) == len(set(pieces))


def test_a_run_is_hashed_alike_wherever_it_stands() -> None:
    assert shingles("one two three four", 3)[1] == shingles("Two, three: four.", 3)[0]
    assert shingles("one two three", 3)[0] != shingles("three two one", 3)[0]


def test_a_text_of_fewer_words_has_no_shingles() -> None:
    assert shingles("one two", 3).shape == (0,)
    assert shingles("one two", 3).dtype == np.uint64


def test_another_process_hashes_the_same() -> None:
    code = "from prolora.dataset.shingles import shingles; print(shingles('the quick brown fox jumps', 4).tolist())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(shingles("the quick brown fox jumps", 4).tolist())


def test_the_hash_of_a_run_is_what_stored_fingerprints_rely_on() -> None:
    assert shingles("the quick brown fox jumps", 4).tolist() == [9285024924506046886, 9241982600240539417]


def test_hashes_remembered_are_bounded_and_come_back_the_same() -> None:
    hashes = WordHashes()
    first = [hashes[str(number)] for number in range(WORDS_KEPT + 10)]
    assert len(hashes) <= WORDS_KEPT
    assert first == [hashes[str(number)] for number in range(WORDS_KEPT + 10)]
