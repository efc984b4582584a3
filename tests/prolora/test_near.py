from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolora.dataset.near import SHINGLE, THRESHOLD, NearDuplicates, near_duplicates
from prolora.dataset.shingles import words

LINES = st.lists(st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join), max_size=12)


class StopError(Exception):
    """The person cancelled."""


class Counting(Sequence[str]):
    """Texts that say which of them were read, and how."""

    def __init__(self, texts: list[str]) -> None:
        self.texts, self.passes, self.read = texts, 0, list[int]()

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[str]:
        self.passes += 1
        return iter(self.texts)

    def __getitem__(self, index):
        self.read.append(index)
        return self.texts[index]


def found(texts: Sequence[str]) -> NearDuplicates:
    return near_duplicates(texts, lambda done: None)


def listed(texts: Sequence[str]) -> list[tuple[int, int, float]]:
    copies = found(texts)
    return list(
        zip(copies.copies.tolist(), copies.originals.tolist(), copies.similarities.round(3).tolist(), strict=True)
    )


def sentences(rng: np.random.Generator, count: int) -> list[str]:
    return [f"word{number}" for number in rng.integers(0, 5000, count)]


def pieces(text: str) -> set[tuple[str, ...]]:
    spoken = words(text)
    return {
        tuple(spoken[start : start + SHINGLE]) for start in range(max(len(spoken) - SHINGLE + 1, min(len(spoken), 1)))
    }


def similarity(one: str, other: str) -> float:
    first, second = pieces(one), pieces(other)
    return len(first & second) / len(first | second)


def pairs(seed: int, count: int) -> tuple[list[str], list[str]]:
    """Texts of 40 to 300 words and, of each, a copy with up to seven places changed."""
    rng = np.random.default_rng(seed)
    originals = [sentences(rng, length) for length in rng.integers(40, 300, count)]
    changed = [list(original) for original in originals]
    for copy in changed:
        for place in rng.integers(0, len(copy), rng.integers(1, 8)):
            copy[place] = "changed"
    return [" ".join(text) for text in originals], [" ".join(text) for text in changed]


def test_of_the_pairs_alike_by_0_85_nearly_all_are_found() -> None:
    originals, changed = pairs(seed=1, count=800)
    alike = {
        place + 800: similarity(one, other) for place, (one, other) in enumerate(zip(originals, changed, strict=True))
    }
    copies = dict(map(reversed, [(original, copy) for copy, original, _ in listed(originals + changed)]))
    wanted = {copy for copy, value in alike.items() if value >= 0.85}
    assert len(wanted) > 200
    assert len(wanted & copies.keys()) >= 0.95 * len(wanted)
    assert all(copies[copy] == copy - 800 for copy in copies)


def test_nothing_below_the_threshold_is_called_a_copy_and_the_similarity_is_exact() -> None:
    originals, changed = pairs(seed=2, count=300)
    texts = originals + changed
    copies = found(texts)
    exact = [similarity(texts[a], texts[b]) for a, b in zip(copies.copies, copies.originals, strict=True)]
    assert 0 < copies.count < 300
    assert copies.similarities.tolist() == pytest.approx(exact)
    assert min(exact) >= THRESHOLD


@given(LINES)
def test_every_copy_is_later_than_its_original_and_each_repeated_text_is_found(texts: list[str]) -> None:
    copies = listed(texts)
    assert all(original < copy for copy, original, _ in copies)
    repeated = {place for place, text in enumerate(texts) if text and text in texts[:place]}
    assert repeated <= {copy for copy, _, value in copies if value == 1}


@given(LINES, st.randoms())
def test_the_number_of_exact_copies_does_not_depend_on_the_order(texts: list[str], random) -> None:
    def exact(texts: list[str]) -> int:
        return int((found(texts).similarities == 1).sum())

    shuffled = random.sample(texts, len(texts))
    assert exact(texts) == exact(shuffled)


def test_case_and_punctuation_do_not_make_another_text() -> None:
    assert listed(["Tell me, please: why?", "Something else", "tell me please - WHY"]) == [(2, 0, 1.0)]


def test_texts_without_a_word_are_copies_of_nothing() -> None:
    assert listed(["", "", "...", "?!", " \n"]) == []
    assert found([]).count == 0


def test_a_copy_of_a_copy_is_found_though_unlike_the_first() -> None:
    rng = np.random.default_rng(3)
    chain = [sentences(rng, 200)]
    for step in range(6):
        chain.append([*chain[-1][:200]])
        chain[-1][step * 30 : step * 30 + 8] = sentences(rng, 8)
    texts = [" ".join(text) for text in chain]
    assert similarity(texts[0], texts[6]) < 0.5
    assert [copy for copy, _, _ in listed(texts)] == [1, 2, 3, 4, 5, 6]


def test_identical_texts_are_read_once_and_never_compared() -> None:
    texts = Counting(["the same sentence in every row of it"] * 5000)
    copies = found(texts)
    assert copies.count == 4999
    assert set(copies.originals.tolist()) == {0}
    assert (texts.passes, texts.read) == (1, [])


def test_texts_of_one_template_are_read_again_at_most_once_each() -> None:
    template = " ".join(sentences(np.random.default_rng(4), 80))
    texts = Counting([f"{template} and the answer to it is number {n}" for n in range(3000)])
    copies = found(texts)
    assert copies.count == 2999
    assert texts.passes == 1
    assert len(texts.read) <= 2 * 3000


def test_progress_tells_the_texts_done_and_may_end_the_search() -> None:
    told: list[int] = []
    near_duplicates([f"text {n}" for n in range(2500)], told.append)
    assert told == sorted(told)
    assert set(told) == {0, 1000, 2000, 2500}

    def stop(done: int) -> None:
        if done == 1000:
            raise StopError

    with pytest.raises(StopError):
        near_duplicates([f"text {n}" for n in range(2500)], stop)
