"""Batches: all of them, or one with its jobs, their curves on one plot, and the spread over seeds."""

from typing import Any

import gradio as gr

from app.pages import presets
from app.pages.batchview import head_html, jobs_html, listing_html, spread_html, titles
from app.pages.edge import told, wanted_id
from app.pages.frame import navigation
from app.pages.plots import batch_plot
from app.services import batches, jobs
from app.services.batches import Overview

TITLE, PATH = "Batches", "batch"
EVERY = 3
MOST_POINTS = 10_000  # of all curves together; a browser paints no more at ease


def build(page: gr.Blocks) -> None:
    navigation()
    batch_id, drawn = gr.State(), gr.State()
    overview = gr.HTML(elem_id="batches", elem_classes="page")
    presets.build(page)
    with gr.Column(elem_classes="page", elem_id="batch", visible=False) as single:
        head = gr.HTML(elem_id="batch-head")
        with gr.Row(elem_classes="actions"):
            cancel = gr.Button("Cancel all", elem_id="cancel-all", scale=0, visible=False)
            retry = gr.Button("Retry failed", elem_id="retry-failed", scale=0, visible=False)
        spread = gr.HTML(elem_id="batch-spread")
        plot = gr.Plot(elem_id="batch-plot", show_label=False, container=False)
        lines = gr.HTML(elem_id="batch-jobs")
    timer = gr.Timer(EVERY, active=False)
    shown = [overview, head, cancel, retry, spread, plot, lines, drawn, timer]
    entered = page.load(enter, None, [batch_id, single, overview], show_progress="hidden")
    entered.then(show, [batch_id, drawn], shown, show_progress="hidden")
    timer.tick(show, [batch_id, drawn], shown, show_progress="hidden")
    for button, act in ((cancel, cancel_all), (retry, retry_failed)):
        done = button.click(act, [batch_id], None, show_progress="hidden")
        done.then(show, [batch_id, drawn], shown, show_progress="hidden")


@told
def enter(request: gr.Request) -> tuple[int | None, Any, Any]:
    wanted = wanted_id(request)
    if wanted is not None:
        batches.overview(wanted)  # says so when there is none
    return wanted, gr.Column(visible=wanted is not None), gr.HTML(visible=wanted is None)


@told
def show(batch_id: int | None, drawn: Any) -> list[Any]:
    if batch_id is None:
        found = batches.listing()
        polling = any(each.states.keys() - jobs.FINISHED for each in found)
        return [listing_html(found), *[gr.skip()] * 7, gr.Timer(active=polling)]
    batch = batches.overview(batch_id)
    states = {each.status for each in batch.lines}
    plot, drawn = _plot(batch, drawn)
    return [
        gr.skip(),
        head_html(batch),
        gr.Button(visible=not batch.finished),
        gr.Button(visible=bool(states & {"failed", "cancelled"})),
        spread_html(batch),
        plot,
        jobs_html(batch),
        drawn,
        gr.Timer(active=not batch.finished),
    ]


@told
def cancel_all(batch_id: int) -> None:
    gr.Info(f"{batches.cancel_all(batch_id)} jobs are cancelled, or stop after their current step.")


@told
def retry_failed(batch_id: int) -> None:
    gr.Info(f"{len(batches.retry_failed(batch_id))} jobs are queued again.")


def _plot(batch: Overview, drawn: Any) -> tuple[Any, Any]:
    """Drawn again only when a run has gone on."""
    state = [(each.id, each.step) for each in batch.lines if each.step]
    if state == drawn or not state:
        return gr.skip(), state
    points = min(max(MOST_POINTS // len(batch.lines), 50), 500)
    return batch_plot(jobs.curves(batch.lines, points=points), titles(batch)), state
