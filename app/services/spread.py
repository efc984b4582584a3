"""What a batch says: the mean over seeds of each setting, how far single runs lie from it, and all of it as CSV."""

import csv
import io
from dataclasses import dataclass
from statistics import mean, stdev

from app.services.batches import Overview
from app.services.jobs.lines import Line

METRICS = ("exact_match", "token_f1", "loss", "perplexity")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet calculate a cell


@dataclass(frozen=True)
class Spread:
    """Runs of one setting over several seeds."""

    mean: float
    deviation: float | None  # standard deviation of a run; one run has none
    n: int


@dataclass(frozen=True)
class Cell:
    """The runs that differ in their seed alone."""

    method: str
    setting: str
    parameters: int
    learning_rate: float
    runs: tuple[Line, ...]
    metrics: dict[str, Spread]


def cells(batch: Overview) -> list[Cell]:
    """In the order in which they were started."""
    groups: dict[tuple[str, str, int, float], list[Line]] = {}
    for each in batch.lines:
        groups.setdefault((each.method, each.setting, each.parameters, each.learning_rate), []).append(each)
    return [Cell(*key, tuple(runs), _metrics(batch, runs)) for key, runs in groups.items()]


def table_csv(batch: Overview) -> str:
    """A line a job; what a spreadsheet would take for a formula stands behind an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text)
    head = ("job", "name", "state", "method", "setting", "parameters", "learning_rate", "seed", "dataset", "base")
    writer.writerow([*head, *METRICS, "seconds", "error"])
    for each in batch.lines:
        about = (each.id, each.name, each.status, each.method, each.setting, each.parameters, each.learning_rate)
        scored = batch.scores.get(each.id, {})
        seconds = round(each.seconds(each.finished_at), 1) if each.finished_at else ""
        cells = (*about, each.seed, each.dataset, each.base, *(scored.get(m, "") for m in METRICS), seconds, each.error)
        writer.writerow([_harmless(cell) for cell in cells])
    return text.getvalue()


def _metrics(batch: Overview, runs: list[Line]) -> dict[str, Spread]:
    found = {
        metric: [s[metric] for each in runs if metric in (s := batch.scores.get(each.id, {}))] for metric in METRICS
    }
    return {
        metric: Spread(mean(values), stdev(values) if len(values) > 1 else None, len(values))
        for metric, values in found.items()
        if values
    }


def _harmless(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
