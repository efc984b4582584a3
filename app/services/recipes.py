"""A new dataset out of kept ones: rows chosen, mixed by weight and capped, by a recipe that is stored with it."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from app.services import rows as browsing
from app.services.datasets import Kept, add, detail, find_content, open_rows
from app.services.rows import Places
from db import files
from db.models import OWNER, Dataset
from prolora.dataset import Folder, StoredRows
from prolora.dataset.records import limit
from prolora.dataset.stored import copy_rows
from prolora.errors import DatasetError

HEAVIEST = 100.0
MOST_ROWS = 20_000_000
BLOCK = 10_000  # rows searched or copied between two words of progress

MIXED = "mixed"  # the form of a dataset that was made from others

Watch = Callable[[float], None]


def ignore(_share: float) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Part:
    """A dataset, and how often each of its rows is taken: 0.5 takes half of them, 2 takes each twice."""

    dataset_id: int
    weight: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """What is taken of the parts. All choices of rows hold for every part."""

    parts: tuple[Part, ...]
    saying: str = ""  # only rows that say this
    not_saying: str = ""  # no rows that say this
    without: tuple[str, ...] = ()  # filters of app.services.rows whose rows are left out
    excluded: tuple[int, ...] = ()  # rows of the first part by their number, counted from 1
    cap: int | None = None  # rows at most, drawn from all
    seed: int = 0

    def __post_init__(self) -> None:
        if not any(part.weight for part in self.parts):
            raise DatasetError("Nothing would be left: give at least one dataset a weight above 0.")
        for part in self.parts:
            if not 0 <= part.weight <= HEAVIEST:
                raise DatasetError(f"A weight of {part.weight:g} makes no sense. Choose one from 0 to {HEAVIEST:g}.")
        if self.cap is not None and self.cap < 1:
            raise DatasetError("A cap below one row leaves nothing. Choose a larger one, or none.")
        if self.seed < 0:
            raise DatasetError(f"A seed of {self.seed} draws nothing. Choose 0 or a larger one.")


def choose(recipe: Recipe, watch: Watch = ignore) -> list[StoredRows]:
    """The rows of each part. Raises DatasetError when none is left, or too many are."""
    used = [part for part in recipe.parts if part.weight]
    chosen = []
    for number, part in enumerate(used):
        rows = open_rows(part.dataset_id)
        places = _places(recipe, part, rows, _within(watch, number, len(used)))
        chosen.append(rows.take(_weighed(places, part.weight, recipe.seed)))
    _check(sum(map(len, chosen)))
    return _capped(chosen, recipe)


def make(name: str, recipe: Recipe, watch: Watch = ignore) -> Kept:
    """Keep what the recipe yields; the same rows again are the same dataset."""
    chosen = choose(recipe, lambda share: watch(share / 2))
    total = sum(map(len, chosen))
    folder = Folder(files.recipe_dir())
    try:
        rows = copy_rows(folder.rows, chosen, lambda count: watch(0.5 + count / total / 2))
        if known := find_content(rows.content_hash):
            return Kept(known, new=False)
        folder.rejects.touch()
        with files.write_aside(files.dataset_dir(rows.content_hash)) as target:
            for path in folder.path.iterdir():
                path.rename(target / path.name)
        return _insert(name, recipe, rows)
    finally:
        shutil.rmtree(folder.path, ignore_errors=True)


def _within(watch: Watch, before: int, parts: int) -> Watch:
    return lambda share: watch((before + share) / parts)


def _places(recipe: Recipe, part: Part, rows: StoredRows, watch: Watch) -> Places:
    keep = np.ones(len(rows), bool)
    for each in recipe.without:
        keep[browsing.filtered(part.dataset_id, rows, each)] = False
    if part == recipe.parts[0]:
        keep[[number - 1 for number in recipe.excluded if number <= len(rows)]] = False
    places = np.flatnonzero(keep)
    for text, wanted in ((recipe.saying, True), (recipe.not_saying, False)):
        if text:
            places = places[_says(rows, places, text, watch) == wanted]
    return places


def _says(rows: StoredRows, places: Places, text: str, watch: Watch) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    found = np.zeros(len(places), bool)
    for first in range(0, len(places), BLOCK):
        for at in browsing.matching(rows, places[first : first + BLOCK], text):
            found[first + at] = True
        watch(first / len(places))
    return found


def _weighed(places: Places, weight: float, seed: int) -> Places:
    """Every row as often as the weight's whole part says, and a drawn share of them once more; the order stays."""
    draw = np.random.default_rng(seed)
    more = draw.permutation(len(places))[: round((weight % 1) * len(places))]
    return np.sort(np.concatenate([np.tile(places, int(weight)), places[more]]))


def _capped(chosen: list[StoredRows], recipe: Recipe) -> list[StoredRows]:
    total = sum(map(len, chosen))
    if recipe.cap is None or recipe.cap >= total:
        return chosen
    kept = np.zeros(total, bool)
    kept[np.random.default_rng(recipe.seed).permutation(total)[: recipe.cap]] = True
    bounds = np.cumsum([len(rows) for rows in chosen])[:-1]
    return [rows.take(np.flatnonzero(mask)) for rows, mask in zip(chosen, np.split(kept, bounds), strict=True)]


def _check(total: int) -> None:
    if not total:
        raise DatasetError("No row is left by these choices. Loosen one of them.")
    if total > MOST_ROWS:
        raise DatasetError(f"That would be {total:,} rows, more than {MOST_ROWS:,}. Lower a weight.")


def _insert(name: str, recipe: Recipe, rows: StoredRows) -> Kept:
    parents = [detail(part.dataset_id) for part in recipe.parts if part.weight]
    stored = asdict(recipe) | {"parents": {str(each.line.id): each.content_hash for each in parents}}
    return add(
        Dataset(
            owner_id=OWNER,
            name=(name.strip() or f"From {parents[0].line.name}")[:120],
            source_name="",
            source_hash=hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest(),
            content_hash=rows.content_hash,
            form=MIXED,
            mapping={},
            kept=len(rows),
            rejected=0,
            held_out=int((rows.lots < limit(rows.lots)).sum()),
            recipe=stored,
        )
    )
