"""Jobs: all of them, or one live. What is shown is what SQL says, so closing the page changes nothing."""

from typing import Any

import gradio as gr

from app.pages.edge import told, wanted_id
from app.pages.frame import navigation
from app.pages.joblines import jobs_table
from app.pages.jobview import head_html, more_html
from app.pages.plots import loss_plot
from app.pages.show import empty, heading, link
from app.services import jobs
from app.services.jobs import Detail

TITLE, PATH = "Jobs", "jobs"
LEAD = "Each training run with its evaluation. They go on when this page is closed."
EVERY = 2


def build(page: gr.Blocks) -> None:
    navigation()
    job_id, drawn = gr.State(), gr.State()
    overview = gr.HTML(elem_id="jobs", elem_classes="page")
    with gr.Column(elem_classes="page", elem_id="job", visible=False) as single:
        with gr.Row(elem_classes="hero-row"):
            head = gr.HTML(elem_id="job-head")
            cancel = gr.Button("Cancel", elem_id="cancel", scale=0, min_width=120, visible=False)
        plot = gr.Plot(elem_id="loss", show_label=False, container=False)
        more = gr.HTML(elem_id="job-more")
        with gr.Accordion("Log", open=False, elem_id="log-fold"):
            log = gr.Code(elem_id="log", show_label=False, lines=14, max_lines=24, language=None, interactive=False)
    timer = gr.Timer(EVERY, active=False)
    live = [overview, head, cancel, plot, more, log, drawn, timer]
    page.load(enter, None, [job_id, single], show_progress="hidden").then(
        show, [job_id, drawn], live, show_progress="hidden"
    )
    timer.tick(show, [job_id, drawn], live, show_progress="hidden")
    cancel.click(cancel_it, [job_id], None, show_progress="hidden").then(
        show, [job_id, drawn], live, show_progress="hidden"
    )


@told
def enter(request: gr.Request) -> tuple[int | None, Any]:
    wanted = wanted_id(request)
    if wanted is not None:
        jobs.detail(wanted)  # says so when there is none
    return wanted, gr.Column(visible=wanted is not None)


@told
def show(job_id: int | None, drawn: Any) -> list[Any]:
    if job_id is None:
        lines = jobs.listing()
        polling = gr.Timer(active=not all(line.finished for line in lines))
        return [_overview(lines), *[gr.skip()] * 6, polling]
    detail = jobs.detail(job_id)
    plot, drawn = _plot(detail, drawn)
    running = not all(line.finished for line in (detail.line, *detail.peers))
    stoppable = not detail.line.finished and not detail.line.cancel_requested
    log = jobs.log_tail(job_id) or "Nothing yet."
    return [
        gr.HTML(visible=False),
        head_html(detail),
        gr.Button(visible=stoppable),
        plot,
        more_html(detail),
        log,
        drawn,
        gr.Timer(active=running),
    ]


@told
def cancel_it(job_id: int) -> None:
    if not jobs.cancel(job_id):
        gr.Info("The job had ended already.")
    elif jobs.detail(job_id).line.finished:
        gr.Info("The job is cancelled.")
    else:
        gr.Info("The job stops as soon as its current step is done.")


def _overview(lines: list[jobs.Line]) -> str:
    if lines:
        return heading(TITLE, LEAD) + jobs_table(lines)
    words = "Make an adapter: choose a dataset, a base and a budget, and the job appears here."
    return heading(TITLE, LEAD) + empty("No job yet", words, link("/wizard", "Make an adapter", "button"))


def _plot(detail: Detail, drawn: Any) -> tuple[Any, Any]:
    """Drawn again only when there are new points: a plot that is replaced flickers and loses its zoom."""
    curves = jobs.curves(sorted((detail.line, *detail.peers), key=lambda line: line.id))
    state = [(curve.job_id, len(curve.points), curve.points[-1:]) for curve in curves]
    if not any(curve.points for curve in curves) or state == drawn:
        return gr.skip(), state
    return loss_plot(curves), state
