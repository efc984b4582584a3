"""The form for a table of the paper, in the list of batches: its data, its runs, and what they will take."""

from html import escape
from typing import Any, NamedTuple

import gradio as gr

from app.pages.edge import told, wanted_id
from app.pages.show import Column, facts, link, method, number, table
from app.services import datasets, planning, presets, workers
from app.services.presets import Outlook, Preset
from prolora.errors import StudioError
from prolora.presets import RECIPES, SEEDS, STEPS, TRAINING, Sourced

LEAD = (
    '<p class="note">The training runs behind a table of the paper, as one batch. Bring in its data on the Datasets '
    "page first; the paper does not say which edition of it was used.</p>"
)
ROWS = (Column("Method"), Column("Setting", True), Column("In the paper"))


class Form(NamedTuple):
    """One field for each of presets.Preset, in its order."""

    recipe: gr.Dropdown
    task: gr.Dropdown
    dataset: gr.Dropdown
    base: gr.Dropdown
    steps: gr.Number
    seeds: gr.CheckboxGroup


def build(page: gr.Blocks) -> None:
    with gr.Column(elem_classes="page", elem_id="paper") as box, gr.Accordion("Reproduce the paper", open=False):
        gr.HTML(LEAD)
        form = _form()
        about = gr.HTML(elem_id="paper-about")
        with gr.Row(elem_classes="actions"):
            go = gr.Button("Start the batch", variant="primary", elem_id="paper-start", scale=0)
        started = gr.HTML(elem_id="paper-started")
    fields: list[Any] = list(form)
    page.load(enter, None, [box, form.dataset], show_progress="hidden")
    form.recipe.input(choose, [form.recipe], [form.task, form.base], show_progress="hidden")
    for field in fields:
        field.change(summary, fields, [about, go], show_progress="hidden", trigger_mode="always_last")
    go.click(start, fields, [started, go])


def _form() -> Form:
    with gr.Row():
        recipe = gr.Dropdown([(each.title, each.name) for each in RECIPES], label="Table", elem_id="paper-recipe")
        task = gr.Dropdown(_tasks(RECIPES[0].name), label="Task", elem_id="paper-task")
        dataset = gr.Dropdown([], label="Dataset", info="With the task's data in it.", elem_id="paper-dataset")
    with gr.Row():
        base = gr.Dropdown(
            [(each.title, each.name) for each in planning.bases()],
            value=RECIPES[0].base_model,
            label="Base model",
            info="The table's own, unless you change it.",
            allow_custom_value=True,
            elem_id="paper-base",
        )
        steps = gr.Number(STEPS.value, label="Steps", info=STEPS.source, precision=0, minimum=1, elem_id="paper-steps")
        seeds = gr.CheckboxGroup(
            list(SEEDS.value), value=list(SEEDS.value), label="Seeds", info=SEEDS.source, elem_id="paper-seeds"
        )
    return Form(recipe, task, dataset, base, steps, seeds)


def enter(request: gr.Request) -> tuple[Any, Any]:
    choices = [(f"{line.name} ({number(line.kept)} rows)", line.id) for line in datasets.listing()]
    return gr.Column(visible=wanted_id(request) is None), gr.Dropdown(choices, value=None)


def choose(recipe: str) -> tuple[Any, Any]:
    """Another table has another base, and not every task."""
    tasks = _tasks(recipe)
    return gr.Dropdown(tasks, value=tasks[0][1]), presets.recipe(recipe).base_model


def summary(*values: Any) -> tuple[str, Any]:
    preset = Preset(*values)
    try:
        seen = presets.outlook(preset)
    except StudioError as error:
        return f'<p class="note">{escape(str(error))}</p>', gr.Button(interactive=False)
    return outlook_html(seen), gr.Button(interactive=True)


def outlook_html(seen: Outlook) -> str:
    recipe, task = seen.wanted.recipe, seen.wanted.task
    rates = recipe.rates or Sourced((task.learning_rate.value,), task.learning_rate.source)
    hours = (
        f"about {seen.hours:,.1f} on one {escape(seen.device)}" if seen.hours is not None else "no worker is known yet"
    )
    pairs = [
        ("Jobs", number(seen.jobs)),
        ("Device hours", hours),
        ("Learning rates", _sourced(Sourced(", ".join(f"{rate:g}" for rate in rates.value), rates.source))),
        *((name.replace("_", " ").capitalize(), _sourced(each)) for name, each in TRAINING.items()),
    ]
    rows = [(method(row.method), escape(str(row.setting)), escape(row.source)) for row in recipe.rows]
    other = seen.wanted.base_model != recipe.base_model
    note = f'<p class="note">The paper trained {recipe.base_model}; on another base its scores say little.</p>'
    return f"{facts(pairs)}{note if other else ''}{table(ROWS, rows, ident='paper-rows')}"


@told
def start(*values: Any) -> tuple[str, Any]:
    """The button then rests until a field changes, so that a second click starts nothing twice."""
    batch_id, ids = presets.start(Preset(*values))
    said = " ".join(filter(None, (f"All {len(ids)} jobs are queued.", workers.warning())))
    watch = link(f"/batch?id={batch_id}", "Watch the batch", "button")
    return f'<div class="done"><p>{escape(said)}</p>{watch}</div>', gr.Button(interactive=False)


def _tasks(recipe: str) -> list[tuple[str, str]]:
    return [(task.title, task.name) for task in presets.tasks(recipe)]


def _sourced(value: Sourced) -> str:
    words = {True: "yes", "nf4": "NF4"}.get(value.value, str(value.value))
    return f'<span title="{escape(value.source)}">{escape(words)}</span>'
