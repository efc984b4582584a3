"""Workers: which there are, on what devices, and what each does; the length of the queue beside them."""

from html import escape

import gradio as gr

from app.pages.frame import navigation
from app.pages.joblines import address
from app.pages.show import THIN, Column, ago, chip, empty, heading, link, number, table
from app.services import workers
from app.services.workers import Line, Queue

TITLE, PATH = "Workers", "workers"
LEAD = "The processes that train. Each takes the most urgent job that fits its devices."
START = "python -m worker"
COLUMNS = (
    Column("State"),
    Column("Worker"),
    Column("Device"),
    Column("Devices", True, "What it may use together, for one job"),
    Column("Memory", True, "Of one device"),
    Column("Does"),
    Column("Last seen"),
    Column("Started"),
    Column("Version"),
)


def build(page: gr.Blocks) -> None:
    navigation()
    content = gr.HTML(elem_id="workers", elem_classes="page")
    timer = gr.Timer(3)
    page.load(show, outputs=[content], show_progress="hidden")
    timer.tick(show, outputs=[content], show_progress="hidden")


def show() -> str:
    found, queue = workers.listing(), workers.queue()
    return heading(TITLE, LEAD) + _queue(queue) + _warning(found, queue) + _listing(found)


def _queue(queue: Queue) -> str:
    tiles = (
        ("Running", queue.running, "running"),
        ("Ready to run", queue.ready, "queued"),
        ("Waiting for another job", queue.waiting, "queued"),
    )
    return '<div class="tiles queue">{}</div>'.format(
        "".join(
            f'<a class="tile" href="/jobs?state={state}"><span>{title}</span><b>{number(count)}</b></a>'
            for title, count, state in tiles
        )
    )


def _warning(found: list[Line], queue: Queue) -> str:
    """Jobs that nobody will take are worth a sentence; so is a worker that went silent with one."""
    if any(each.alive for each in found) or not (queue.ready or queue.running):
        return ""
    words = "Nobody is there to take the jobs. They are kept, and go on when a worker is started."
    return f'<p class="problem">{escape(words)}</p>'


def _listing(found: list[Line]) -> str:
    if not found:
        words = f"Start the studio, or one worker on its own with {START}; it appears here within seconds."
        return empty("No worker has been seen in the last day", words)
    return table(COLUMNS, map(_row, found), ident="workers-table")


def _row(line: Line) -> list[str]:
    job = link(address(line.job_id), line.job or f"job {line.job_id}") if line.job_id else "–"
    return [
        chip(line.state),
        f"{escape(line.name)}<small>{escape(line.host)}</small>",
        escape(line.device),
        number(line.gpus),
        f"{line.memory_bytes / 2**30:.1f}{THIN}GiB",
        job,
        ago(line.seen_at),
        ago(line.started_at),
        f"<code>{escape(line.version)}</code>",
    ]
