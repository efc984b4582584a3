"""Leaderboard: every finished run, its size and its scores, as a plot and as a table."""

from html import escape
from typing import Any

import gradio as gr

from app.pages.frame import navigation
from app.pages.joblines import address
from app.pages.jobview import METRICS, interval_words, value_words
from app.pages.plots import SHARES, pareto
from app.pages.show import Cell, Column, decimal, empty, heading, link, megabytes, method, number, table
from app.services import leaderboard
from app.services.leaderboard import Entry

TITLE, PATH = "Leaderboard", "leaderboard"
LEAD = "What each adapter scores on rows it never saw, and what it costs."
COLUMNS = (
    Column("Name"),
    Column("Method"),
    Column("Setting", True, "(r, u, m, n): rank, unshared ranks, sharing rates of A and B"),
    Column("Parameters", True),
    Column("Adapter", True),
    Column("Exact match", True),
    Column("Base", True, "Exact match of the base alone on the same rows"),
    Column("Token F1", True),
    Column("Loss", True, "On the expected answers; lower is better"),
    Column("Perplexity", True, "Lower is better"),
    Column("n", True, "Held-out rows"),
    Column("Minutes", True),
    Column("Dataset"),
)


def build(page: gr.Blocks) -> None:
    navigation()
    with gr.Column(elem_classes="page"):
        gr.HTML(heading(TITLE, LEAD))
        with gr.Column(visible=False) as filled:
            metric = gr.Radio(
                [(title, name) for name, title, _ in METRICS],
                value="exact_match",
                show_label=False,
                container=False,
                elem_id="board-metric",
                elem_classes="segments",
            )
            plot = gr.Plot(elem_id="pareto", show_label=False, container=False)
        rows = gr.HTML(elem_id="board")
    page.load(show, [metric], [filled, plot, rows], show_progress="hidden")
    metric.change(draw, [metric], [plot], show_progress="hidden")


def show(metric: str) -> tuple[Any, Any, str]:
    entries = leaderboard.entries()
    if not entries:
        words = "When a job has been trained and measured, it stands here."
        return (
            gr.Column(visible=False),
            gr.skip(),
            empty("No run yet", words, link("/wizard", "Make an adapter", "button")),
        )
    return gr.Column(visible=True), draw(metric), table(COLUMNS, map(_row, entries), ident="board-table", sortable=True)


def draw(metric: str) -> Any:
    title = next(title for name, title, _ in METRICS if name == metric)
    return pareto(leaderboard.entries(), metric, title)


def _row(entry: Entry) -> list[Cell | str]:
    return [
        Cell(link(address(entry.job_id), entry.name), entry.name),
        Cell(method(entry.method), entry.method),
        Cell(escape(entry.setting), entry.parameters),
        Cell(number(entry.parameters), entry.parameters),
        Cell(megabytes(entry.size_bytes), entry.size_bytes),
        _score(entry, "exact_match"),
        _base(entry),
        _score(entry, "token_f1"),
        _score(entry, "loss"),
        _score(entry, "perplexity"),
        Cell(number(entry.n), entry.n),
        Cell(decimal(entry.minutes, 1), entry.minutes),
        Cell(escape(entry.dataset), entry.dataset),
    ]


def _score(entry: Entry, metric: str) -> Cell:
    """Where none was measured it sorts as the worst."""
    if metric not in entry.scores:
        return Cell("–", -1.0 if metric in SHARES else 1e9)
    value = entry.scores[metric]
    low, high = entry.intervals.get(metric, (value, value))
    return Cell(f"{value_words(metric, value)}<small>{interval_words(metric, low, high)}</small>", value)


def _base(entry: Entry) -> Cell:
    value = entry.base_scores.get("exact_match")
    return Cell("–", -1.0) if value is None else Cell(value_words("exact_match", value), value)
