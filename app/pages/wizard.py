"""New adapter: four steps, Data, Base, Budget, Train, beside a summary that stays in sight."""

from html import escape
from typing import Any, Literal, NamedTuple

import gradio as gr

from app.pages import budget as heart
from app.pages import cutoff, filling, forecast
from app.pages.edge import told
from app.pages.filling import FIRST_BUDGET, about, bring, enter
from app.pages.frame import navigation
from app.pages.joblines import address
from app.pages.show import facts, heading, link, megabytes, number
from app.pages.training import training
from app.services import batches, datasets, jobs, planning, workers
from prolora.errors import StudioError
from prolora.methods import title as title_of

TITLE, PATH = "New adapter", "wizard"
LEAD = "From data to a trained PRoLoRA and the LoRA of the same size."
RANKS = (1, 2, 4, 8, 16, 32, 64, 128)


class Form(NamedTuple):
    """One field for each of jobs.Choice, in its order."""

    dataset: gr.Dropdown
    base: gr.Dropdown
    budget: gr.Textbox
    setting: gr.Textbox
    name: gr.Textbox
    epochs: gr.Number
    learning_rate: gr.Number
    seed: gr.Number
    batch_size: gr.Number
    max_length: gr.Number
    quantization: gr.Radio
    twin: gr.Checkbox
    method: gr.Dropdown
    peers: gr.Dropdown
    accumulation: gr.Number
    gradient_checkpointing: gr.Checkbox
    gpus: gr.Number
    after: gr.Dropdown
    origin: gr.Number
    rates: gr.Textbox
    budgets: gr.Textbox
    seeds: gr.Textbox
    like: gr.Textbox


class Notes(NamedTuple):
    """What the page says of the fields."""

    dataset: gr.HTML
    base: gr.HTML
    offer: gr.HTML
    sweep: gr.HTML
    copied: gr.HTML
    rail: gr.HTML


class Pickers(NamedTuple):
    """Other ways to fill fields of the form."""

    run: gr.UploadButton  # all of them
    rank: gr.Slider  # the budget
    cards: gr.Radio  # the setting


class Steps(NamedTuple):
    """The controls that lead from step to step."""

    walk: gr.Walkthrough
    forward: tuple[gr.Button, gr.Button, gr.Button]
    back: tuple[gr.Button, gr.Button, gr.Button]
    start: gr.Button
    started: gr.HTML


def build(page: gr.Blocks) -> None:
    navigation()
    with gr.Column(elem_classes="page"):
        gr.HTML(heading(TITLE, LEAD))
        run = filling.build()
        copied = gr.HTML(elem_id="copied")
        with gr.Row(elem_classes="wizard"):
            with gr.Column(scale=7, min_width=600):
                form, notes, pickers, steps = _steps(run)
            with gr.Column(scale=3, min_width=260, elem_classes="rail-box"):
                rail = gr.HTML(elem_id="rail")
    _wire(page, form, Notes(*notes, copied, rail), pickers, steps)


def _steps(run: gr.UploadButton) -> tuple[Form, tuple[gr.HTML, gr.HTML, gr.HTML, gr.HTML], Pickers, Steps]:
    with gr.Walkthrough(selected=0, elem_id="steps") as walk:
        with gr.Step("Data", id=0):
            dataset = gr.Dropdown(label="Dataset", info="What the adapter learns from.", elem_id="wizard-dataset")
            about_data = gr.HTML()
            _, to_base = _buttons("to-base", "Next: base", None)
        with gr.Step("Base", id=1):
            base = gr.Dropdown(
                [(each.title, each.name) for each in planning.bases()],
                value="demo",
                label="Base model",
                info="Choose one, or type the folder of a Llama on this machine and press Enter.",
                allow_custom_value=True,
                elem_id="wizard-base",
            )
            about_base = gr.HTML()
            back_data, to_budget = _buttons("to-budget", "Next: budget", "back-to-data")
        with gr.Step("Budget", id=2):
            budget, setting, pickers, offer = _budget(run)
            back_base, to_train = _buttons("to-train", "Next: train", "back-to-base")
        with gr.Step("Train", id=3):
            fields, sweep = training()
            estimated = gr.HTML(elem_id="forecast")
            back_budget, start = _buttons("start", "Train both", "back-to-budget")
            started = gr.HTML(elem_id="started")
    form = Form(dataset, base, budget, setting, *fields)
    forecast.follow(form, estimated)
    steps = Steps(walk, (to_base, to_budget, to_train), (back_data, back_base, back_budget), start, started)
    return form, (about_data, about_base, offer, sweep), pickers, steps


def _buttons(ident: str, words: str, back: str | None) -> tuple[gr.Button, gr.Button]:
    with gr.Row(elem_classes="actions"):
        before = gr.Button("Back", elem_id=back, scale=0, visible=back is not None)
        after = gr.Button(words, variant="primary", elem_id=ident, scale=0)
    return before, after


def _budget(run: gr.UploadButton) -> tuple[gr.Textbox, gr.Textbox, Pickers, gr.HTML]:
    with gr.Row(equal_height=True):
        budget = gr.Textbox(
            FIRST_BUDGET,
            label="Budget",
            info="Parameters (5M), the LoRA rank to match (rank 8), a size (40 MB), or adapters on a card "
            "(500 adapters in 20 GiB).",
            elem_id="budget",
            scale=2,
            max_length=60,
        )
        with gr.Column(scale=3, elem_classes="slider-box"):
            slider = gr.Slider(
                0, len(RANKS) - 1, RANKS.index(8), step=1, label="The size of LoRA rank", elem_id="rank", buttons=[]
            )
            gr.HTML(f'<div class="ticks">{"".join(f"<span>{rank}</span>" for rank in RANKS)}</div>')
    cards = gr.Radio(label="Suggestions (r, u, m, n), best first", elem_id="suggestions", elem_classes="cards")
    # The cards are no field of the form: an event on its way may bring a card of the last budget, which Gradio refuses.
    setting = gr.Textbox(visible=False)
    return budget, setting, Pickers(run, slider, cards), gr.HTML(elem_id="offer")


def _wire(page: gr.Blocks, form: Form, notes: Notes, pickers: Pickers, steps: Steps) -> None:
    fields: list[Any] = list(form)
    quiet: Literal["hidden"] = "hidden"
    defaults = [form.epochs, form.learning_rate, form.batch_size, form.max_length, form.quantization]
    based, offered = [notes.base, *defaults], [pickers.cards, form.setting, notes.offer]
    filled = [*fields, notes.base, notes.copied, steps.walk]
    for event in (
        page.load(enter, None, filled, show_progress=quiet),
        pickers.run.upload(bring, [pickers.run], filled),
    ):
        event.then(offer, fields, offered, show_progress=quiet)
    form.base.input(choose_base, [form.base], based, show_progress=quiet).then(
        offer, fields, offered, show_progress=quiet
    )
    pickers.rank.input(lambda at: f"rank {RANKS[int(at)]}", [pickers.rank], [form.budget], show_progress=quiet)
    form.budget.change(offer, fields, offered, show_progress=quiet, trigger_mode="always_last")
    pickers.cards.input(pick, [pickers.cards, *fields], [form.setting, notes.offer], show_progress=quiet)
    for chosen in (form.dataset, form.base):
        chosen.change(cutoff.ask, [form.dataset, form.base], None, show_progress=quiet)
    told_of = [notes.dataset, notes.sweep, notes.rail, steps.start]
    for field in fields:
        field.change(summary, fields, told_of, show_progress=quiet, trigger_mode="always_last")
    for number_of, (button, check) in enumerate(
        zip(steps.forward, (check_data, check_base, check_budget), strict=True), 1
    ):
        button.click(check, fields, [steps.walk], show_progress=quiet)
        steps.back[number_of - 1].click(lambda at=number_of - 1: gr.Walkthrough(selected=at), None, [steps.walk])
    steps.start.click(start, fields, [steps.started, steps.start])


def choose_base(name: str) -> list[Any]:
    """What is known of the base, and what trains well on it."""
    try:
        chosen = planning.defaults(name)
    except StudioError:
        return [about(name), *[gr.skip()] * 5]
    values = [chosen.epochs, chosen.learning_rate, chosen.batch_size, chosen.max_length, chosen.quantization]
    return [about(name), *values]


def offer(*values: Any) -> tuple[Any, str, str]:
    """New suggestions; the best one is chosen, unless the chosen one is among them."""
    choice = jobs.Choice(*values)
    try:
        made = planning.offer(choice.base, choice.budget)
    except StudioError as error:
        return gr.Radio(choices=[], value=None), "", heart.problem(str(error))
    keys = [(str(each.setting), planning.key_of(each.setting)) for each in made.cards(choice.setting)]
    chosen = planning.key_of(made.choice(choice.setting).setting)
    return gr.Radio(choices=keys, value=chosen), chosen, heart.cards(made, chosen)


@told
def pick(key: str, *values: Any) -> tuple[str, str]:
    """Another card is opened."""
    choice = jobs.Choice(*values)
    return key, heart.cards(planning.offer(choice.base, choice.budget), key)


def summary(*values: Any) -> tuple[str, str, str, Any]:
    """The dataset and the sweep in words, the rail, and the button, which is live again."""
    choice = jobs.Choice(*values)
    chosen = next((line for line in datasets.listing() if line.id == choice.dataset), None)
    runs, sweep = _runs(choice)
    words = {1: "Train", 2: "Train both"}.get(runs, f"Train all {runs}")
    rail = _rail(choice, chosen.name if chosen else "none yet")
    return cutoff.rows_html(chosen, choice), sweep, rail, gr.Button(words, interactive=True)


def _runs(choice: jobs.Choice) -> tuple[int, str]:
    """How many there will be, and what is to be said of a sweep."""
    try:
        grid = batches.grid_of(choice)
    except StudioError as error:
        return len(choice.methods), heart.problem(str(error))
    if not batches.is_sweep(choice):
        return grid.size, ""
    counts = {"method": grid.methods, "budget": grid.budgets, "learning rate": grid.rates, "seed": grid.seeds}
    factors = " × ".join(f"{len(each)} {name}{'s' * (len(each) > 1)}" for name, each in counts.items())
    said = f"{factors} = {grid.size} jobs in one batch."
    if grid.size > batches.MOST_JOBS:
        return grid.size, heart.problem(f"{said} A batch holds at most {batches.MOST_JOBS}. Leave some out.")
    return grid.size, f'<p class="note">{said}</p>'


def _rail(choice: jobs.Choice, dataset: str) -> str:
    pairs = [("Data", escape(dataset)), ("Base", escape(choice.base or "none yet")), ("Budget", escape(choice.budget))]
    try:
        made = planning.offer(choice.base, choice.budget)
        chosen = made.choice(choice.setting)
        if choice.method == "prolora":
            pairs += [
                ("Setting", f'<span class="method prolora">{escape(str(chosen.setting))}</span>'),
                ("Parameters", number(chosen.parameters)),
                ("Adapter", megabytes(chosen.size_bytes)),
            ]
        others = [name for name in choice.methods if name != "prolora"]
        pairs += [(title_of(name), escape(planning.fit_words(made, choice.setting, name))) for name in others]
    except StudioError:
        pairs.append(("Setting", "none yet"))
    pairs += [("Epochs", f"{choice.epochs or 0:g}"), ("Learning rate", f"{choice.learning_rate or 0:g}")]
    return f'<aside class="rail"><h2>Summary</h2>{facts(pairs)}</aside>'


@told
def check_data(*values: Any) -> Any:
    if jobs.Choice(*values).dataset is None:
        raise StudioError("Choose a dataset first. The Datasets page takes a file or the sample.")
    return gr.Walkthrough(selected=1)


@told
def check_base(*values: Any) -> Any:
    planning.base(jobs.Choice(*values).base)
    return gr.Walkthrough(selected=2)


@told
def check_budget(*values: Any) -> Any:
    choice = jobs.Choice(*values)
    planning.offer(choice.base, choice.budget)
    return gr.Walkthrough(selected=3)


@told
def start(*values: Any) -> tuple[str, Any]:
    """The button then rests until a field changes, so that a second click starts nothing twice."""
    choice = jobs.Choice(*values)
    if batches.is_sweep(choice):
        batch_id, ids = batches.start(choice)
        watch = link(f"/batch?id={batch_id}", "Watch the batch", "button")
    else:
        ids = jobs.start(choice)
        watch = link(address(ids[0]), "Watch it" if len(ids) == 1 else "Watch them", "button")
    words = {1: "The job is queued.", 2: "Both jobs are queued."}.get(len(ids), f"All {len(ids)} jobs are queued.")
    said = " ".join(filter(None, (words, workers.warning())))
    done = f'<div class="done" data-jobs="{",".join(map(str, ids))}"><p>{escape(said)}</p>{watch}</div>'
    return done, gr.Button(interactive=False)
