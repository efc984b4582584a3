"""Which jobs the list shows: a form whose fields are the page's address, so that a view can be shared and reloaded."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

import gradio as gr

from app.pages.edge import wanted_number
from app.pages.show import link, number
from app.services import batches, datasets, jobs
from app.services.jobs import PAGE, Filter
from prolora.methods import METHODS

STATES = ("queued", "running", "succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class View:
    """A page of the list, as its address says."""

    wanted: Filter
    page: int

    def address(self, page: int) -> str:
        filled = {name: value for name, value in vars(self.wanted).items() if value not in ("", None)}
        return f"/jobs?{urlencode(filled | {'page': page})}"


def view_of(request: gr.Request) -> View:
    asked = request.query_params
    wanted = Filter(
        state=asked.get("state", ""),
        method=asked.get("method", ""),
        dataset=wanted_number(request, "dataset"),
        batch=wanted_number(request, "batch"),
        text=asked.get("text", "")[:120],
    )
    return View(wanted, max(wanted_number(request, "page") or 1, 1))


def form(view: View) -> str:
    wanted = view.wanted
    sets = [(str(each.id), each.name) for each in datasets.listing()]
    grids = [(str(each.id), f"{each.name} ({each.id})") for each in batches.listing()]
    fields = (
        _select("state", "State", [(each, each) for each in STATES], wanted.state),
        _select("method", "Method", [(each.name, each.title) for each in METHODS], wanted.method),
        _select("dataset", "Dataset", sets, str(wanted.dataset or "")),
        _select("batch", "Batch", grids, str(wanted.batch or "")) if grids else "",
        f'<label>Name<input name="text" type="search" value="{escape(wanted.text)}" placeholder="part of it"></label>',
    )
    reset = link("/jobs", "Show all", "button quiet small") if wanted != jobs.ALL else ""
    return f'<form class="filters" action="/jobs" method="get" role="search">{"".join(fields)}{reset}</form>'


def pager(view: View, total: int) -> str:
    """Where in the list one is, with ways to the pages beside."""
    if total <= PAGE and view.page == 1:
        return ""
    first, last = (view.page - 1) * PAGE + 1, min(view.page * PAGE, total)
    newer = link(view.address(view.page - 1), "Newer", "button quiet small") if view.page > 1 else ""
    older = link(view.address(view.page + 1), "Older", "button quiet small") if last < total else ""
    words = f"{number(first)}–{number(last)} of {number(total)}" if first <= total else f"There are {number(total)}"
    return f'<nav class="pager" aria-label="Pages of the list">{newer}<span class="num">{words}</span>{older}</nav>'


def _select(name: str, label: str, options: Iterable[tuple[str, str]], chosen: str) -> str:
    marked = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(words)}</option>'
        for value, words in [("", "all"), *options]
    )
    return f'<label>{label}<select name="{name}">{marked}</select></label>'
