"""The study's plots, as SVG; matplotlib comes with the dependency group `bench`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.study.report import Row

TITLES = {"own": "Each at its own learning rate", "paper": "All at LoRA's learning rate"}
FAMILIES = {"LoRA": "#5b7389", "PRoLoRA": "#c98a1b"}  # as in the studio
OTHERS = "#7a7a7a"


def pareto(tables: Mapping[str, Sequence["Row"]], path: Path) -> None:
    """Loss against parameters, with 95 % intervals."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(tables), figsize=(12, 5), sharey=True, layout="constrained")
    for each, (name, rows) in zip(axes, tables.items(), strict=True):
        for row in rows:
            spread = [[row.loss - row.low], [row.high - row.loss]]
            each.errorbar(row.parameters, row.loss, yerr=spread, fmt="o", ms=4, lw=1, color=_colour(row.config))
            each.annotate(row.config, (row.parameters, row.loss), xytext=(5, 2), textcoords="offset points", fontsize=7)
        each.set(xscale="log", xlabel="trainable parameters", title=TITLES[name])
    axes[0].set_ylabel("loss on unseen rows, nats a token")
    _save(figure, path)


def rates(tuned: Mapping[str, Sequence[tuple[float, float]]], path: Path) -> None:
    """Validation loss against the learning rate."""
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, points in tuned.items():
        axis.plot(*zip(*points, strict=True), marker="o", ms=4, lw=1, label=name)
    axis.set(xscale="log", xlabel="learning rate", ylabel="nats over the validation rows")
    axis.legend(fontsize=8)
    _save(figure, path)


def _colour(config: str) -> str:
    return FAMILIES.get(config.split()[0], OTHERS)


def _save(figure: object, path: Path) -> None:
    from matplotlib import pyplot

    with pyplot.rc_context({"svg.hashsalt": "study"}):  # the same figures are the same file
        figure.savefig(path, metadata={"Date": None})  # type: ignore[attr-defined]
    pyplot.close("all")
