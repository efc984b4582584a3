"""Jobs as rows of a table and as a live strip; the home page and the jobs page share them."""

from collections.abc import Iterable
from html import escape

from app.pages.show import Cell, Column, ago, bar, chip, duration, link, method, number, table
from app.services.jobs import Line, now
from prolora.methods import family

COLUMNS = (
    Column("State"),
    Column("Name"),
    Column("Method"),
    Column("Setting", numeric=True, hint="(r, u, m, n): rank, unshared ranks, sharing rates of A and B"),
    Column("Parameters", numeric=True),
    Column("Dataset"),
    Column("Progress"),
    Column("Time left", numeric=True),
    Column("Queued"),
)


def address(job_id: int) -> str:
    return f"/jobs?id={job_id}"


def jobs_table(lines: Iterable[Line]) -> str:
    return table(COLUMNS, (_row(line) for line in lines), ident="jobs-table")


def strip(lines: Iterable[Line]) -> str:
    """What runs now and what waits."""
    return f'<div class="strip">{"".join(_card(line) for line in lines)}</div>'


def progress_words(line: Line) -> str:
    """What the job does now, in words; HTML."""
    if line.finished:
        return f"Took {duration(line.seconds(now()))}" if line.started_at else "Never started"
    if line.cancel_requested:
        return "Stopping…"
    if line.status == "queued":
        return _waits(line)
    steps = f" · step {number(line.step)} of {number(line.total_steps)}" if line.total_steps else ""
    stopping = "Stops here and keeps the adapter · " if line.stop_requested else ""
    return f"{stopping}{escape(line.stage or 'Starting')}{steps}"


def time_left(line: Line) -> str:
    left = line.left(now())
    return duration(left) if left is not None else "–"


def _waits(line: Line) -> str:
    what = f"Waits for job {line.after_id}" if line.after_id else "Waits for a worker"
    devices = f" with {line.gpus} devices" if line.gpus > 1 and not line.after_id else ""
    urgency = f" · priority {line.priority:+d}".replace("-", "−") if line.priority else ""
    return what + devices + urgency


def _row(line: Line) -> list[Cell | str]:
    batch = f"<small>{link(f'/batch?id={line.batch_id}', f'batch {line.batch_id}')}</small>" if line.batch_id else ""
    return [
        chip(line.status),
        link(address(line.id), line.name) + batch,
        method(line.method),
        escape(line.setting),
        number(line.parameters),
        link(f"/datasets?id={line.dataset_id}", line.dataset),
        f"{bar(line.share, 'progress')}<small>{progress_words(line)}</small>",
        time_left(line),
        ago(line.created_at),
    ]


def _card(line: Line) -> str:
    title = f"{chip(line.status)} <b>{escape(line.name)}</b> {method(line.method)}"
    return (
        f'<a class="strip-card {family(line.method)}" href="{address(line.id)}">'
        f"<div>{title} <span class=num>{escape(line.setting)}</span></div>"
        f"{bar(line.share)}<div class=row><small>{progress_words(line)}</small>"
        f"<small class=num>{time_left(line)}</small></div></a>"
    )
