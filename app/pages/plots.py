"""Plotly figures: amber for PRoLoRA, grey-blue for LoRA, no frame, nothing that the reader does not need."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import log10
from typing import Any

import plotly.graph_objects as go

from app.pages.theme import BASE, LORA, PROLORA
from app.services.jobs import Curve
from app.services.leaderboard import Entry
from prolora.methods import family
from prolora.methods import title as title_of

SHARES = ("exact_match", "token_f1")  # between 0 and 1
COLOURS = {"prolora": PROLORA, "lora": LORA, "other": BASE}  # of families of methods
SYMBOLS = {"prolora": "circle", "lora": "diamond", "other": "square"}
GRID = "rgba(128,140,148,.22)"
FONT = {"family": "IBM Plex Sans, sans-serif", "size": 13, "color": "#7b878e"}  # legible on both themes


def loss_plot(curves: Iterable[Curve]) -> go.Figure:
    """Training losses as lines; losses on held-out rows, where they were measured, as dots on dashes."""
    figure = _figure("Step", "Loss", 320)
    for curve in curves:
        steps, values = zip(*curve.points, strict=True) if curve.points else ((), ())
        held_out = curve.metric != "loss"
        figure.add_scatter(
            x=steps,
            y=values,
            mode="lines+markers" if held_out else "lines",
            name=f"{title_of(curve.method)}, job {curve.job_id}{', held out' if held_out else ''}",
            line={"color": COLOURS[family(curve.method)], "width": 2, "dash": _dash(curve)},
        )
    return figure


def batch_plot(curves: Sequence[Curve], titles: Mapping[int, str]) -> go.Figure:
    """Every run of a batch as a thin line, a legend entry a method; the run's own title on hover."""
    figure, told = _figure("Step", "Training loss", 420), set()
    for curve in curves:
        if not curve.points:
            continue
        steps, values = zip(*curve.points, strict=True)
        figure.add_scatter(
            x=steps,
            y=values,
            mode="lines",
            name=title_of(curve.method),
            legendgroup=curve.method,
            showlegend=curve.method not in told,
            opacity=0.7,
            line={"color": COLOURS[family(curve.method)], "width": 1.5, "dash": _dash(curve)},
            hovertemplate=f"{escape(titles[curve.job_id])}<br>step %{{x}}: %{{y:.3f}}<extra></extra>",
        )
        told.add(curve.method)
    return figure


def pareto(entries: Sequence[Entry], metric: str, title: str) -> go.Figure:
    """Score against parameters; the base is the line to beat."""
    figure = _figure("Trained parameters", title, 360)
    sizes = [entry.parameters for entry in entries]
    marks = _marks(min(sizes), max(sizes))
    reach = [log10(min(sizes) / 2), log10(max(sizes) * 2)]  # twins of almost one size stand side by side
    figure.update_xaxes(type="log", range=reach, tickvals=marks, ticktext=[_round(mark) for mark in marks])
    if metric in SHARES:
        figure.update_yaxes(tickformat=".0%", range=[-0.03, 1.05])
    for name in sorted({entry.method for entry in entries}, key=lambda name: (list(COLOURS).index(family(name)), name)):
        of_method = [entry for entry in entries if entry.method == name and metric in entry.scores]
        if of_method:
            figure.add_scatter(**_points(of_method, metric, name))
    bases = {entry.base_scores[metric] for entry in entries if metric in entry.base_scores}
    for value in bases if len(bases) == 1 else ():
        figure.add_hline(
            y=value, line={"color": BASE, "dash": "dot"}, annotation_text="base alone", annotation_position="top left"
        )
    return figure


def _points(entries: list[Entry], metric: str, name: str) -> dict[str, Any]:
    values = [entry.scores[metric] for entry in entries]
    intervals = [entry.intervals.get(metric, (value, value)) for entry, value in zip(entries, values, strict=True)]
    return {
        "x": [entry.parameters for entry in entries],
        "y": values,
        "mode": "markers",
        "name": title_of(name),
        "marker": {"color": COLOURS[family(name)], "size": 11, "symbol": _symbol(name)},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [high - value for (_, high), value in zip(intervals, values, strict=True)],
            "arrayminus": [value - low for (low, _), value in zip(intervals, values, strict=True)],
            "color": COLOURS[family(name)],
            "thickness": 1,
            "width": 3,
        },
        "text": [f"{entry.name}, {entry.setting}" for entry in entries],
        "hovertemplate": "%{text}<br>%{x:,} parameters<br>%{y:.3f}<extra></extra>",
    }


def _dash(curve: Curve) -> str:
    if curve.metric != "loss":
        return "dash"
    return "solid" if _first(curve.method) else "dot"


def _first(name: str) -> bool:
    """Whether a method gave its family the name; the others are drawn open and dotted."""
    return name == family(name)


def _symbol(name: str) -> str:
    return SYMBOLS[family(name)] + ("" if _first(name) else "-open")


def _marks(least: int, most: int) -> list[int]:
    """1, 2 and 5 of every decade, from below the least to above the most."""
    decades = range(len(str(least)) - 2, len(str(most)) + 1)
    marks = [digit * 10**decade for decade in decades if decade >= 0 for digit in (1, 2, 5)]
    return [mark for mark in marks if least / 3 < mark < most * 3]


def _round(mark: int) -> str:
    """50k, 2M: a mark has one digit that is not zero."""
    for scale, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if mark >= scale:
            return f"{mark // scale}{letter}"
    return str(mark)


def _figure(x: str, y: str, height: int) -> go.Figure:
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID}
    return go.Figure(
        layout={
            "height": height,
            "margin": {"l": 56, "r": 16, "t": 16, "b": 44},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": FONT,
            "showlegend": True,
            "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
            "xaxis": {"title": x, **axis},
            "yaxis": {"title": y, **axis},
            "uirevision": "kept",  # zoom and hidden curves stay when points are added
        }
    )
