"""Jobs: all of them, or one live. What is shown is what SQL says, so closing the page changes nothing."""

from typing import Any, NamedTuple

import gradio as gr

from app.pages.edge import told, wanted_id
from app.pages.frame import navigation
from app.pages.gauges import gauges
from app.pages.jobfilters import View, form, pager, view_of
from app.pages.joblines import jobs_table
from app.pages.jobview import head_html, more_html
from app.pages.plots import loss_plot
from app.pages.show import empty, heading, link
from app.services import jobs
from app.services.jobs import ALL, Detail

TITLE, PATH = "Jobs", "jobs"
LEAD = "Each training run with its evaluation. They go on when this page is closed."
EVERY = 2
LOSSES, SPARKS = ("loss", "validation_loss"), ("learning_rate", "tokens_per_second", "memory")
SPARK_POINTS = 120  # a tile is no wider
GO = "(id) => { if (id) window.location.assign('/jobs?id=' + id); }"


COPY = "() => window.location.assign('/wizard?job=' + new URLSearchParams(window.location.search).get('id'))"


class Actions(NamedTuple):
    """What can be done with the job that is shown."""

    cancel: gr.Button
    stop: gr.Button
    retry: gr.Button
    sooner: gr.Button
    later: gr.Button
    clone: gr.Button


class Live(NamedTuple):
    """What a look at SQL changes."""

    overview: gr.HTML
    head: gr.HTML
    gauges: gr.HTML
    plot: gr.Plot
    more: gr.HTML
    log: gr.Textbox
    drawn: gr.State
    timer: gr.Timer


def build(page: gr.Blocks) -> None:
    navigation()
    job_id, view, went = gr.State(), gr.State(), gr.Number(visible=False, precision=0)
    with gr.Column(elem_classes="page", elem_id="jobs-page") as every:
        filters = gr.HTML(elem_id="job-filters")
        overview = gr.HTML(elem_id="jobs")
    with gr.Column(elem_classes="page", elem_id="job", visible=False) as single:
        live, actions = _single(overview)
    shown: list[Any] = [*live, *actions]
    entered = page.load(enter, None, [job_id, view, filters, every, single], show_progress="hidden")
    entered.then(show, [job_id, view, live.drawn], shown, show_progress="hidden")
    live.timer.tick(show, [job_id, view, live.drawn], shown, show_progress="hidden")
    for button, act in zip(actions[:5], (cancel, stop, retry, sooner, later), strict=True):
        done = button.click(act, [job_id], [went], show_progress="hidden")
        done.then(None, [went], None, js=GO).then(show, [job_id, view, live.drawn], shown, show_progress="hidden")
    actions.clone.click(None, None, None, js=COPY)


def _single(overview: gr.HTML) -> tuple[Live, Actions]:
    head = gr.HTML(elem_id="job-head")
    with gr.Row(elem_classes="actions", elem_id="job-actions"):
        names = ("Cancel", "Stop and keep", "Retry", "Sooner", "Later", "Clone with changes")
        idents = ("cancel", "stop", "retry", "sooner", "later", "clone")
        buttons = [
            gr.Button(name, elem_id=ident, scale=0, visible=False) for name, ident in zip(names, idents, strict=True)
        ]
    numbers = gr.HTML(elem_id="job-gauges")
    plot = gr.Plot(elem_id="loss", show_label=False, container=False)
    more = gr.HTML(elem_id="job-more")
    with gr.Accordion("Log", open=False, elem_id="log-fold"):
        gr.HTML('<p class="note">The end of the log. It follows what is written, unless you scroll up.</p>')
        log = gr.Textbox(
            elem_id="log",
            show_label=False,
            lines=14,
            max_lines=24,
            interactive=False,
            autoscroll=True,
            buttons=["copy"],
        )
    return Live(overview, head, numbers, plot, more, log, gr.State(), gr.Timer(EVERY, active=False)), Actions(*buttons)


@told
def enter(request: gr.Request) -> tuple[int | None, View, str, Any, Any]:
    wanted, view = wanted_id(request), view_of(request)
    if wanted is not None:
        jobs.detail(wanted)  # says so when there is none
    filters = form(view) if wanted is None and (view.wanted != ALL or jobs.total()) else ""
    return (
        wanted,
        view,
        heading(TITLE, LEAD) + filters,
        gr.Column(visible=wanted is None),
        gr.Column(visible=wanted is not None),
    )


@told
def show(job_id: int | None, view: View, drawn: Any) -> list[Any]:
    if job_id is None:
        lines = jobs.listing(view.wanted, view.page)
        polling = gr.Timer(active=not all(line.finished for line in lines))
        return [_overview(lines, view), *[gr.skip()] * 6, polling, *[gr.skip()] * 6]
    detail = jobs.detail(job_id)
    numbers, plot, drawn = _drawn(detail, drawn)
    running = not all(line.finished for line in (detail.line, *detail.peers))
    log = jobs.log_tail(job_id) or "Nothing yet."
    timer = gr.Timer(active=running)
    return [gr.skip(), head_html(detail), numbers, plot, more_html(detail), log, drawn, timer, *_possible(detail)]


@told
def cancel(job_id: int) -> None:
    if not jobs.cancel(job_id):
        gr.Info("The job had ended already.")
    elif jobs.detail(job_id).line.finished:
        gr.Info("The job is cancelled.")
    else:
        gr.Info("The job stops as soon as its current step is done.")


@told
def stop(job_id: int) -> None:
    jobs.stop_and_keep(job_id)
    gr.Info("The job trains no further. Its adapter is kept and measured.")


@told
def retry(job_id: int) -> int:
    return jobs.retry(job_id)


@told
def sooner(job_id: int) -> None:
    gr.Info(f"The job has priority {jobs.sooner(job_id)} now.")


@told
def later(job_id: int) -> None:
    gr.Info(f"The job has priority {jobs.later(job_id)} now.")


def _possible(detail: Detail) -> list[Any]:
    """Which of the actions the job's state allows."""
    line = detail.line
    running, queued = line.status == "running", line.status == "queued"
    stopping = line.cancel_requested or line.stop_requested
    allowed = (
        not line.finished and not line.cancel_requested,
        running and not stopping,
        line.status in ("failed", "cancelled"),
        queued,
        queued,
        True,
    )
    return [gr.Button(visible=each) for each in allowed]


def _overview(lines: list[jobs.Line], view: View) -> str:
    if lines:
        return jobs_table(lines) + pager(view, jobs.total(view.wanted))
    if view.wanted != ALL or view.page > 1:
        return empty("No such job", "No job matches this. Ask for less.", link("/jobs", "Show all", "button"))
    words = "Make an adapter: choose a dataset, a base and a budget, and the job appears here."
    return empty("No job yet", words, link("/wizard", "Make an adapter", "button"))


def _drawn(detail: Detail, drawn: Any) -> tuple[Any, Any, Any]:
    """Curves are read and drawn again only when there are new points: a new plot flickers and loses its zoom."""
    if detail.latest == drawn or not any(detail.latest.values()):
        return gr.skip(), gr.skip(), detail.latest
    losses = jobs.curves(sorted((detail.line, *detail.peers), key=lambda line: line.id), LOSSES)
    return gauges(detail, jobs.curves([detail.line], SPARKS, SPARK_POINTS)), loss_plot(losses), detail.latest
