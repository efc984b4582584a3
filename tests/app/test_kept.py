"""Datasets that are kept: read a page at a time, and made into others."""

import json
from pathlib import Path

import gradio as gr
import pytest

from app.pages import dataset
from app.pages.curation import numbers
from app.services import datasets, recipes, rows, uploads
from app.services.recipes import Part, Recipe
from db import files
from prolora.dataset import read_rows, split
from prolora.errors import DatasetError
from tests.app.conftest import taken_in


def kept(folder: Path, *pairs: tuple[str, str], name: str = "Pairs") -> int:
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": one, "completion": two}) for one, two in pairs))
    return uploads.keep(taken_in(uploads.receive(path, path.name)), name).id


@pytest.fixture
def fruit(studio: Path, tmp_path: Path) -> int:
    """A hundred rows about apples, two of them alike."""
    pairs = [(f"Apple {number}?", f"Number {number}.") for number in range(99)]
    return kept(tmp_path, *pairs, pairs[5], name="Fruit")


def questions(dataset_id: int) -> list[str]:
    return [row.prompt for row in datasets.open_rows(dataset_id)]


def test_a_dataset_that_is_not_there_is_said_to_be_missing(studio):
    with pytest.raises(DatasetError, match="number 7"):
        datasets.detail(7)


def test_rows_are_shown_a_page_at_a_time(fruit):
    first = rows.page(fruit)
    assert [row.place for row in first.rows] == list(range(20))
    assert (first.of, first.next) == (100, 20)
    last = rows.page(fruit, start=80)
    assert ([row.place for row in last.rows], last.next) == (list(range(80, 100)), None)


def test_a_datasets_page_shows_its_first_rows_in_its_first_answer(fruit):
    answer = dataset.enter(gr.Request(query_params={"id": str(fruit)}))
    assert any("Up to row 20 of 100." in part for part in answer if isinstance(part, str))


def test_the_page_of_all_datasets_shows_no_rows(fruit):
    answer = dataset.enter(gr.Request(query_params={}))
    assert not any(part for part in answer if isinstance(part, str))


def test_rows_held_out_and_rows_trained_on_are_all_rows(fruit):
    train, held = split(datasets.open_rows(fruit))
    apart = [rows.page(fruit, each).of for each in (rows.TRAINED, rows.HELD_OUT)]
    assert apart == [len(train), len(held)]
    assert all(row.held_out for row in rows.page(fruit, rows.HELD_OUT).rows)


def test_rows_that_repeat_an_earlier_one_are_found(fruit):
    assert [row.place for row in rows.page(fruit, rows.REPEATS).rows] == [99]


def test_a_search_finds_a_text_in_any_case_and_goes_on_where_it_ended(fruit):
    found = rows.page(fruit, text="nUMBER 1")
    assert [row.place for row in found.rows] == [1, *range(10, 20)]
    assert found.next is None
    many = rows.page(fruit, text="apple")
    assert (len(many.rows), many.next) == (20, 20)
    assert rows.page(fruit, text="apple", start=20).rows[0].place == 20


def test_a_search_reads_what_is_said_and_not_how_it_is_stored(studio, tmp_path):
    dataset = kept(tmp_path, ('Say "Ärger"\nplease.', "Ärger"), ("role", "content?"), ("c", "d"))
    for text, places in (('"ärger"\nPLEASE', [0]), ("role", [1]), ("messages", []), ("ÄRGER", [0])):
        assert [row.place for row in rows.page(dataset, text=text).rows] == places


def test_what_has_not_been_counted_yet_cannot_be_shown(fruit):
    with pytest.raises(DatasetError, match="not been counted yet"):
        rows.page(fruit, rows.NEAR)


def test_rows_without_an_index_are_read_all_the_same(fruit):
    path = files.dataset_rows(datasets.detail(fruit).content_hash)
    before = list(read_rows(path))
    path.with_suffix(".npy").unlink()
    assert list(read_rows(path)) == before
    assert read_rows(path).content_hash == datasets.detail(fruit).content_hash


def test_a_recipe_chooses_rows_and_is_stored_with_the_new_dataset(fruit):
    recipe = Recipe((Part(fruit),), saying="apple 1", not_saying="17", without=(rows.REPEATS,), excluded=(1, 2, 11))
    made = recipes.make("Few", recipe)
    assert questions(made.id) == [f"Apple {number}?" for number in (11, 12, 13, 14, 15, 16, 18, 19)]
    detail = datasets.detail(made.id)
    assert (detail.line.form, detail.line.kept, detail.line.rejected) == ("mixed", 8, 0)
    assert detail.parents == ((fruit, "Fruit"),)
    assert detail.recipe["parents"] == {str(fruit): datasets.detail(fruit).content_hash}
    assert not any(files.uploads_dir().iterdir())


def test_the_same_recipe_again_is_the_same_dataset(fruit):
    recipe = Recipe((Part(fruit, 0.3),), seed=4)
    first, again = recipes.make("A", recipe), recipes.make("B", recipe)
    assert (first.id, again.new) == (again.id, False)
    assert questions(recipes.make("C", Recipe((Part(fruit, 0.3),), seed=5)).id) != questions(first.id)


def test_datasets_are_mixed_by_weight_and_capped(fruit, tmp_path):
    pears = kept(tmp_path, *((f"Pear {number}?", "Yes.") for number in range(10)), name="Pears")
    both = Recipe((Part(fruit, 0.5), Part(pears, 2.5)))
    mixed = questions(recipes.make("Mixed", both).id)
    of_pears = [each for each in mixed if each.startswith("Pear")]
    assert (len(mixed), len(of_pears)) == (75, 25)
    assert sorted(of_pears.count(f"Pear {number}?") for number in range(10)) == [2] * 5 + [3] * 5
    capped = recipes.make("Capped", Recipe(both.parts, cap=30))
    assert len(questions(capped.id)) == 30


def test_rows_taken_twice_lie_on_one_side_of_the_split(fruit):
    train, held = split(datasets.open_rows(recipes.make("Twice", Recipe((Part(fruit, 2),))).id))
    assert not {row.prompt for row in train} & {row.prompt for row in held}
    assert len(train) + len(held) == 200


@pytest.mark.parametrize(
    ("parts", "more", "words"),
    [
        ([0.0], {}, "above 0"),
        ([-1.0], {}, "-1 makes no sense"),
        ([1e9], {}, "makes no sense"),
        ([float("nan")], {}, "makes no sense"),
        ([1.0], {"cap": 0}, "below one row"),
        ([1.0], {"seed": -1}, "A seed of -1"),
        ([1.0], {"saying": "pears"}, "No row is left"),
    ],
)
def test_a_recipe_that_yields_nothing_sensible_is_refused(fruit, parts, more, words):
    with pytest.raises(DatasetError, match=words):
        recipes.make("x", Recipe(tuple(Part(fruit, weight) for weight in parts), **more))


def test_rows_to_leave_out_are_written_as_numbers_and_ranges():
    assert numbers("3, 17-20,18 – 21, ") == (3, 17, 18, 19, 20, 21)
    for wrong in ("x", "5-3", "0", "1-999999999", "3;4"):
        with pytest.raises(DatasetError, match="row"):
            numbers(wrong)
