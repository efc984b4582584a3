"""One dataset: what it is, how long its rows are, its copies and overlaps, its rows, and others made from it."""

from html import escape
from typing import Any

import gradio as gr

from app.pages import curation
from app.pages.edge import told, wanted_id
from app.pages.report import head_html, pieces_html, rejects
from app.pages.show import number
from app.pages.survey import surveys_html, unfinished
from app.services import datasets, rows, surveys
from prolora.errors import DatasetError

EVERY = 1  # seconds between two looks at what is being counted
CUTOFF = 512
FIRST_FILTERS = (rows.ALL, rows.TRAINED, rows.HELD_OUT, rows.REPAIRED, rows.REPEATS, rows.NEAR)


def build(page: gr.Blocks) -> None:
    dataset_id, timer = gr.State(), gr.Timer(EVERY, active=False)
    start, after = gr.State(0), gr.State()
    with gr.Column(elem_classes="page", elem_id="dataset", visible=False) as single:
        head = gr.HTML()
        with gr.Row():
            base = gr.Dropdown(label="Tokens of", elem_id="lengths-base", scale=2)
            cutoff = gr.Number(CUTOFF, label="Cut-off in tokens", precision=0, minimum=1, elem_id="cutoff", scale=1)
        counted = gr.HTML(elem_id="surveys")
        gr.HTML("<section><h2>Rows</h2></section>")
        with gr.Row():
            chosen = gr.Dropdown(list(FIRST_FILTERS), value=rows.ALL, label="Show", elem_id="row-filter", scale=1)
            text = gr.Textbox(label="That say", elem_id="row-search", max_length=200, scale=3, submit_btn="Search")
        shown = gr.HTML(elem_id="rows")
        with gr.Row(elem_classes="actions"):
            first = gr.Button("First rows", elem_id="rows-first", scale=0)
            more = gr.Button("Next rows", elem_id="rows-next", scale=0)
        curation.build(dataset_id)
        left_out = gr.HTML(elem_id="left-out")
    surveyed = [counted, chosen, timer]
    wanted = [dataset_id, chosen, text, start]
    browsed = [shown, more, after]
    # All in one answer: each event more is a round trip before the rows are there.
    entered = [dataset_id, single, head, left_out, base, *surveyed, *browsed]
    page.load(enter, None, entered, show_progress="hidden")
    for begin in (base.input, cutoff.change):
        begin(ask, [dataset_id, base], None, show_progress="hidden").then(
            survey, [dataset_id, base, cutoff, chosen], surveyed, show_progress="hidden"
        )
    timer.tick(survey, [dataset_id, base, cutoff, chosen], surveyed, show_progress="hidden")
    for begin in (chosen.input, text.submit, first.click):
        begin(lambda: 0, None, start, show_progress="hidden").then(browse, wanted, browsed)
    more.click(lambda place: place, after, start, show_progress="hidden").then(browse, wanted, browsed)


@told
def enter(request: gr.Request) -> list[Any]:
    wanted = wanted_id(request)
    if wanted is None:
        nothing = [None, gr.Column(visible=False), "", "", gr.skip()]
        return [*nothing, *survey(None, None, None, rows.ALL), *browse(None, rows.ALL, "", 0)]
    detail = datasets.detail(wanted)
    bases = surveys.bases()
    base = bases[0] if bases else None
    surveys.start(wanted, bases[:1])
    left_out = rejects(detail.rejects, detail.report | {"total": detail.line.rejected}, f"/download/dataset/{wanted}")
    return [
        wanted,
        gr.Column(visible=True),
        head_html(detail),
        left_out,
        gr.Dropdown(bases, value=base),
        *survey(wanted, base, CUTOFF, rows.ALL),
        *browse(wanted, rows.ALL, "", 0),
    ]


def ask(dataset_id: int | None, base: str | None) -> None:
    """Lengths on a base are counted once somebody looks at them."""
    if dataset_id is not None and base:
        surveys.ask(dataset_id, surveys.lengths_on(base))


@told
def survey(dataset_id: int | None, base: str | None, cutoff: float | None, chosen: str) -> tuple[Any, Any, Any]:
    if dataset_id is None:
        return gr.skip(), gr.skip(), gr.Timer(active=False)
    found = surveys.of(dataset_id)
    filters = [*FIRST_FILTERS, *(rows.OVERLAP + each for each in surveys.overlapped(found))]
    shown = surveys_html(dataset_id, found, base, int(cutoff or CUTOFF))
    return shown, gr.Dropdown(filters, value=chosen), gr.Timer(active=unfinished(found))


@told
def browse(dataset_id: int | None, chosen: str, text: str, start: int) -> tuple[Any, Any, Any]:
    if dataset_id is None:
        return gr.skip(), gr.skip(), gr.skip()
    try:
        page = rows.page(dataset_id, chosen, text.strip(), start)
    except DatasetError as error:
        return f'<p class="problem">{escape(str(error))}</p>', gr.Button(interactive=False), None
    words = "Search on" if text.strip() else "Next rows"
    return rows_html(page, text.strip()), gr.Button(words, interactive=page.next is not None), page.next


def rows_html(page: rows.Page, text: str) -> str:
    if text:
        lead = f"Searched {number(page.searched)} of {number(page.of)} rows."
    else:
        lead = f"Up to row {number(page.searched)} of {number(page.of)}."
    cards = "".join(_card(row, text) for row in page.rows) or '<p class="note">No row here.</p>'
    return f'<p class="lead">{lead}</p>{cards}'


def _card(row: rows.Shown, text: str) -> str:
    facts = [f"Row {number(row.place + 1)}", f"line {number(row.line)}"]
    facts += ["held out"] if row.held_out else []
    facts += [f"repaired: {', '.join(row.repaired)}"] if row.repaired else []
    return (
        f'<article class="row-card"><p class="note">{escape(" · ".join(facts))}</p>'
        f'<pre class="sample">{pieces_html(row.pieces, text)}</pre></article>'
    )
