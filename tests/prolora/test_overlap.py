from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from prolora.dataset.overlap import (
    HITS,
    SCHEME,
    SHINGLE,
    Fingerprints,
    FingerprintsError,
    Hit,
    Overlap,
    fingerprints,
    overlaps,
    read,
    write,
)
from prolora.dataset.shingles import words

FOX = "The quick brown fox jumps over the lazy dog, and then it sleeps all day."
PLAIN = "the quick brown fox jumps over the lazy dog and then it sleeps"
SEA = "A ship that left the harbour at dawn was seen again near the islands, ten years later, by nobody."
TEXT = st.text("ab éß一1.,- \n", max_size=60)
ITEM = st.lists(st.sampled_from(["one", "two", "Three", "vier", "пять", "6"]), min_size=SHINGLE, max_size=30)


def looked_up(texts: Iterable[str], *items: str) -> Overlap:
    (overlap,) = overlaps(texts, {"riddles": fingerprints(items)}, lambda done: None)
    return overlap


def test_a_text_that_quotes_an_item_is_shown_with_the_words_they_share() -> None:
    overlap = looked_up(["Something else.", f"Complete this: {FOX}"], SEA, FOX)
    assert overlap == Overlap("riddles", texts=1, items=1, hits=(Hit(text=1, item=1, words=PLAIN),))


@given(TEXT, ITEM, TEXT)
def test_a_text_that_contains_an_item_whole_is_always_found(before: str, item: list[str], after: str) -> None:
    overlap = looked_up([f"{before} {', '.join(item).upper()}! {after}"], SEA, " ".join(item))
    assert (overlap.texts, overlap.items) == (1, 1)


@given(st.lists(st.sampled_from([FOX, SEA, f"{FOX} {SEA}", "short", ""]), max_size=8), st.randoms())
def test_the_counts_do_not_depend_on_the_order_of_the_texts(texts: list[str], random) -> None:
    one, other = (looked_up(order, FOX, SEA, FOX) for order in (texts, random.sample(texts, len(texts))))
    assert (one.texts, one.items) == (other.texts, other.items)


@pytest.mark.parametrize("text", ["", FOX.replace("jumps", "hops").replace("sleeps", "rests"), PLAIN.rsplit(" ", 1)[0]])
def test_twelve_words_in_common_are_no_overlap(text: str) -> None:
    assert looked_up([text], FOX) == Overlap("riddles", 0, 0, ())


def test_a_run_does_not_reach_from_one_text_into_the_next() -> None:
    half = len(FOX) // 2
    assert looked_up([FOX[:half], FOX[half:]], FOX).texts == 0


def test_items_that_share_a_run_are_all_counted_and_texts_once_each() -> None:
    overlap = looked_up([FOX, "other", f"{FOX} {FOX}", SEA], f"{FOX} Yes?", f"{FOX} No?", SEA)
    assert (overlap.texts, overlap.items) == (3, 3)
    assert [(hit.text, hit.item) for hit in overlap.hits] == [(0, 0), (2, 0), (3, 2)]


def test_only_the_first_hits_are_kept_and_all_are_counted() -> None:
    overlap = looked_up([FOX, "other"] * (HITS + 20), FOX)
    assert overlap.texts == HITS + 20
    assert [hit.text for hit in overlap.hits] == list(range(0, 2 * HITS, 2))
    assert overlap.indices.tolist() == list(range(0, 2 * (HITS + 20), 2))


def test_texts_are_counted_alike_across_batches_and_progress_goes_up_to_the_last() -> None:
    rng = np.random.default_rng(0)
    long = " ".join(map(str, rng.integers(0, 10**9, 60_000)))
    told: list[int] = []
    prints = {"riddles": fingerprints([FOX, SEA]), "ships": fingerprints([SEA]), "none": fingerprints([])}
    riddles, ships, none = overlaps([long, long, f"{long} {FOX}", long, long, long, SEA, ""], prints, told.append)
    assert [(hit.text, hit.words) for hit in riddles.hits] == [(2, PLAIN), (6, " ".join(words(SEA)[:SHINGLE]))]
    assert [hit.text for hit in ships.hits] == [6]
    assert [each.indices.tolist() for each in (riddles, ships, none)] == [[2, 6], [6], []]
    assert none == Overlap("none", 0, 0, ())
    assert len(told) > 1
    assert (told, told[-1]) == (sorted(told), 8)


def test_items_too_short_to_be_checked_are_told() -> None:
    prints = fingerprints([FOX, "Too short.", "", SEA])
    assert (prints.total, prints.short) == (4, 2)


def test_what_is_written_is_read_again_and_no_word_is_in_the_file(tmp_path: Path) -> None:
    prints = fingerprints([FOX, "short", SEA])
    write(tmp_path / "riddles.safetensors", prints)
    again = read(tmp_path / "riddles.safetensors")
    assert overlaps([SEA], {"riddles": again}, lambda done: None)[0].hits[0].item == 2
    assert (again.hashes.tolist(), again.items.tolist()) == (prints.hashes.tolist(), prints.items.tolist())
    assert (again.total, again.short) == (3, 1)
    content = (tmp_path / "riddles.safetensors").read_bytes().lower()
    assert not any(word.encode() in content for word in ("quick", "harbour", "islands", "jumps"))


def parts(**changed: np.ndarray) -> dict[str, np.ndarray]:
    hashes, items = np.array([3, 5, 9], np.uint64), np.array([0, 1, 1], np.uint32)
    return {"hashes": hashes, "items": items, "counts": np.array([2, 0])} | changed


@pytest.mark.parametrize(
    ("tensors", "scheme", "said"),
    [
        (parts(hashes=np.array([5, 3, 9], np.uint64)), SCHEME, "not sorted"),
        (parts(items=np.array([0, 1, 2], np.uint32)), SCHEME, "not each of an item"),
        (parts(items=np.array([0, 1], np.uint32)), SCHEME, "not each of an item"),
        (parts(hashes=np.array([3.0, 5.0, 9.0])), SCHEME, "no readable file"),
        (parts(counts=np.array([2])), SCHEME, "no readable file"),
        ({"hashes": np.array([3], np.uint64)}, SCHEME, "no readable file"),
        (parts(), SCHEME | {"hashing": "0"}, "another version"),
        (parts(), None, "another version"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], scheme: dict[str, str] | None, said: str
) -> None:
    save_file(tensors, tmp_path / "riddles.safetensors", metadata=scheme)
    with pytest.raises(FingerprintsError, match=f"riddles.safetensors.*{said}.*import the benchmark anew"):
        read(tmp_path / "riddles.safetensors")


@pytest.mark.parametrize("content", [b"", b"not tensors", b"PK\x03\x04" + bytes(100), b"\xff" * 64])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "riddles.safetensors").write_bytes(content)
    with pytest.raises(FingerprintsError, match=r"riddles\.safetensors is no readable file of fingerprints"):
        read(tmp_path / "riddles.safetensors")


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FingerprintsError, match=r"nowhere\.safetensors"):
        read(tmp_path / "nowhere.safetensors")


def test_fingerprints_are_sorted_and_each_run_of_an_item_is_kept_once() -> None:
    prints = fingerprints([f"{FOX} {FOX}", FOX])
    assert isinstance(prints, Fingerprints)
    assert np.all(prints.hashes[1:] >= prints.hashes[:-1])
    assert len(set(zip(prints.hashes.tolist(), prints.items.tolist(), strict=True))) == len(prints.hashes)
