"""Make another dataset from kept ones: rows chosen, left out, mixed by weight and capped."""

import re
from html import escape
from typing import Any

import gradio as gr

from app.pages.edge import told
from app.pages.show import link, number
from app.services import datasets, recipes, rows, surveys
from app.services.recipes import Part, Recipe
from prolora.errors import DatasetError

MOST_OTHERS = 100
RANGE = re.compile(r"(\d{1,9})(?:\s*[-–]\s*(\d{1,9}))?")
MOST_EXCLUDED = 100_000


def build(dataset_id: gr.State) -> None:
    with gr.Accordion("Make another dataset from it", open=False, elem_id="curate"):
        with gr.Row():
            name = gr.Textbox(label="Name", elem_id="recipe-name", max_length=120)
            saying = gr.Textbox(label="Only rows that say", elem_id="recipe-saying", max_length=200)
            not_saying = gr.Textbox(label="No rows that say", elem_id="recipe-not-saying", max_length=200)
        with gr.Row():
            without = gr.CheckboxGroup(label="Leave out", elem_id="recipe-without")
            excluded = gr.Textbox(
                label="Leave out these rows", placeholder="3, 17-20", elem_id="recipe-excluded", max_length=2000
            )
            cap = gr.Number(label="Rows at most", precision=0, minimum=0, value=0, info="0: all", elem_id="recipe-cap")
            seed = gr.Number(label="Seed", precision=0, value=0, info="draws the rows", elem_id="recipe-seed")
        mix = gr.Dataframe(
            headers=["Number", "Dataset", "Weight"],
            datatype=["number", "str", "number"],
            static_columns=[0, 1],
            label="Mix: 0 leaves a dataset out, 0.5 takes half of its rows, 2 takes each twice",
            elem_id="recipe-mix",
            max_height=260,
        )
        with gr.Row(elem_classes="actions"):
            count = gr.Button("Count the rows", elem_id="recipe-count", scale=0)
            make = gr.Button("Make it", variant="primary", elem_id="recipe-make", scale=0)
        made = gr.HTML(elem_id="recipe-made")
    fields = [dataset_id, saying, not_saying, without, excluded, cap, seed, mix]
    dataset_id.change(offer, [dataset_id], [name, without, mix], show_progress="hidden")
    count.click(count_it, fields, made)
    make.click(make_it, [name, *fields], made)


def offer(dataset_id: int | None) -> tuple[Any, Any, Any]:
    if dataset_id is None:
        return gr.skip(), gr.skip(), gr.skip()
    lines = datasets.listing()
    own = next(line for line in lines if line.id == dataset_id)
    others = [[line.id, line.name, 0.0] for line in lines if line.id != dataset_id][:MOST_OTHERS]
    overlaps = [rows.OVERLAP + each for each in surveys.overlapped(surveys.of(dataset_id))]
    filters = [(_words(each), each) for each in (rows.REPEATS, rows.NEAR, *overlaps)]
    return f"{own.name}, chosen", gr.CheckboxGroup(filters), [[own.id, own.name, 1.0], *others]


def _words(chosen: str) -> str:
    if chosen.startswith(rows.OVERLAP):
        return f"overlap with {chosen.removeprefix(rows.OVERLAP)}"
    return chosen


@told
def count_it(*fields: Any, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008 - how Gradio passes it
    chosen = recipes.choose(_recipe(*fields), lambda share: progress(share, desc="Choosing rows"))
    return f"<p>{number(sum(map(len, chosen)))} rows.</p>"


@told
def make_it(name: str, *fields: Any, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
    kept = recipes.make(name, _recipe(*fields), lambda share: progress(share, desc="Writing rows"))
    surveys.start(kept.id, surveys.bases()[:1])
    words = "is made." if kept.new else "was there before: its rows are the same, so nothing was added."
    return f'<p class="done">{link(f"/datasets?id={kept.id}", "The dataset")} {words}</p>'


def _recipe(dataset_id: int, saying: str, not_saying: str, without: list[str], excluded: str, *rest: Any) -> Recipe:
    cap, seed, mix = rest
    weights = {int(line[0]): _weight(line[2], line[1]) for line in mix.values.tolist()}
    parts = [Part(dataset_id, weights.pop(dataset_id, 1.0))]
    parts += [Part(each, weight) for each, weight in weights.items() if weight]
    return Recipe(
        parts=tuple(parts),
        saying=saying.strip(),
        not_saying=not_saying.strip(),
        without=tuple(without),
        excluded=numbers(excluded),
        cap=int(cap) or None if cap else None,
        seed=int(seed or 0),
    )


def _weight(value: Any, name: str) -> float:
    try:
        return float(value or 0)
    except ValueError as error:
        raise DatasetError(f"The weight of {name} is “{escape(str(value))}”. Write a number.") from error


def numbers(text: str) -> tuple[int, ...]:
    """3, 17-20 as 3, 17, 18, 19, 20."""
    found: set[int] = set()
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        match = RANGE.fullmatch(piece)
        if match is None:
            raise DatasetError(f"“{piece}” is no row. Write numbers and ranges, such as 3, 17-20.")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last or last - first + len(found) >= MOST_EXCLUDED:
            raise DatasetError(f"“{piece}” is no range of rows, or one of more than {MOST_EXCLUDED:,}.")
        found.update(range(first, last + 1))
    return tuple(sorted(found))
