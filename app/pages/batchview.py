"""A batch as HTML: how it stands, what its settings scored on average, and its jobs."""

from collections import Counter
from html import escape

from app.pages.gauges import rate
from app.pages.joblines import address, progress_words
from app.pages.jobview import METRICS, value_words
from app.pages.plots import SHARES
from app.pages.show import Cell, Column, ago, bar, chip, empty, heading, link, method, number, table
from app.services.batches import Overview, Summary
from app.services.spread import Spread, cells
from prolora.methods import title as title_of

LEAD = "Jobs that were started together to be compared: a sweep over learning rates, budgets and seeds."
STATES = ("running", "queued", "succeeded", "failed", "cancelled")
HOW = "Mean over the seeds that succeeded ± standard deviation of a single run (n runs)."
LISTED = (Column("Batch"), Column("Jobs", True), Column("Progress"), Column("States"), Column("Made"))
SETTING = (
    Column("Method"),
    Column("Setting", True, "(r, u, m, n): rank, unshared ranks, sharing rates of A and B"),
    Column("Parameters", True),
    Column("Learning rate", True),
)


def listing_html(found: list[Summary]) -> str:
    if not found:
        words = "In the wizard’s last step, open Sweep and give several learning rates, budgets or seeds."
        return heading("Batches", LEAD) + empty("No batch yet", words, link("/wizard", "Make one", "button"))
    return heading("Batches", LEAD) + table(LISTED, map(_summary, found), ident="batches-table")


def head_html(batch: Overview) -> str:
    states = Counter(each.status for each in batch.lines)
    done = sum(each.finished for each in batch.lines)
    words = f"{number(done)} of {number(len(batch.lines))} jobs are done"
    csv = link(f"/download/batch/{batch.id}.csv", "Export as CSV", "button quiet small")
    every = link(f"/jobs?batch={batch.id}", "In the list of jobs", "button quiet small")
    share = sum(each.share for each in batch.lines if not each.finished) + done
    return (
        f'<p class="crumbs">{link("/batch", "Batches")} · batch {batch.id} · made {ago(batch.created_at)}</p>'
        f'<header class="page-head"><h1>{escape(batch.name)}</h1>'
        f'<p class="lead">{_chips(states)}</p></header>'
        f'<div class="live">{bar(share / len(batch.lines), words)}<div class=row><small>{words}</small></div></div>'
        f'<div class="actions">{csv}{every}</div>'
    )


def spread_html(batch: Overview) -> str:
    """A row a setting; nothing before the first score."""
    found = cells(batch)
    shown = [metric for metric in METRICS if any(metric[0] in each.metrics for each in found)]
    if not shown:
        words = "The first scores come when a job has been measured."
        return f'<section><h2>Over seeds</h2><p class="note">{words}</p></section>'
    columns = [*SETTING, *(Column(title, True, hint) for _, title, hint in shown)]
    rows = [
        [
            Cell(method(each.method), each.method),
            Cell(escape(each.setting), each.parameters),
            Cell(number(each.parameters), each.parameters),
            Cell(rate(each.learning_rate), each.learning_rate),
            *(_spread(name, each.metrics.get(name)) for name, _, _ in shown),
        ]
        for each in found
    ]
    whole = table(columns, rows, ident="spread-table", sortable=True)
    return f'<section><h2>Over seeds</h2><p class="note">{HOW}</p>{whole}</section>'


def jobs_html(batch: Overview) -> str:
    shown = [metric for metric in METRICS if any(metric[0] in each for each in batch.scores.values())]
    measured = [Column(title, True, hint) for _, title, hint in shown]
    columns = [Column("State"), Column("Job"), *SETTING, Column("Seed", True), *measured, Column("Progress")]
    rows = [
        [
            Cell(chip(each.status), each.status),
            Cell(link(address(each.id), f"job {each.id}"), each.id),
            Cell(method(each.method), each.method),
            Cell(escape(each.setting), each.parameters),
            Cell(number(each.parameters), each.parameters),
            Cell(rate(each.learning_rate), each.learning_rate),
            Cell(str(each.seed), each.seed),
            *(_score(name, batch.scores.get(each.id, {}).get(name)) for name, _, _ in shown),
            Cell(f"{bar(each.share, 'progress')}<small>{progress_words(each)}</small>", each.share),
        ]
        for each in batch.lines
    ]
    return f"<section><h2>Jobs</h2>{table(columns, rows, ident='batch-table', sortable=True)}</section>"


def titles(batch: Overview) -> dict[int, str]:
    """Of each run, for a plot."""
    return {
        each.id: f"{title_of(each.method)} {each.setting}, {rate(each.learning_rate)}, seed {each.seed}"
        for each in batch.lines
    }


def _summary(batch: Summary) -> list[str]:
    total = sum(batch.states.values())
    ended = sum(count for state, count in batch.states.items() if state not in ("queued", "running"))
    name = link(f"/batch?id={batch.id}", batch.name)
    progress = bar(ended / total if total else 0.0, "progress")
    return [name, number(total), progress, _chips(batch.states), ago(batch.created_at)]


def _chips(states: "Counter[str] | dict[str, int]") -> str:
    return " ".join(
        f'<span class="chip {state}">{number(states[state])} {state}</span>' for state in STATES if states.get(state)
    )


def _spread(metric: str, found: Spread | None) -> Cell:
    if found is None:
        return Cell("–", -1.0 if metric in SHARES else 1e9)
    deviation = f" ± {value_words(metric, found.deviation)}" if found.deviation is not None else ""
    return Cell(f"{value_words(metric, found.mean)}{deviation}<small>n = {found.n}</small>", found.mean)


def _score(metric: str, value: float | None) -> Cell:
    return Cell("–", -1.0 if metric in SHARES else 1e9) if value is None else Cell(value_words(metric, value), value)
