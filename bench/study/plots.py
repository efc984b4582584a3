"""The study's plots, as SVG; matplotlib comes with the dependency group `bench`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.study.report import Row

TITLES = {"own": "Each at its own learning rate", "paper": "All at LoRA's learning rate"}
FAMILIES = {"LoRA": "#5b7389", "PRoLoRA": "#c98a1b"}  # as in the studio
OTHERS = "#7a7a7a"
FAR = 0.7  # nats above the best


def losses(tables: Mapping[str, Sequence["Row"]], path: Path) -> None:
    """Loss with its 95 % interval, a line a method; one that is far off is an arrow with its number."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(tables), figsize=(13, 5), layout="constrained")
    for axis, (name, rows) in zip(axes, tables.items(), strict=True):
        shown = [row for row in rows if row.loss < min(each.loss for each in rows) + FAR]
        limit = max(row.high for row in shown) + 0.02
        for height, row in enumerate(rows):
            if row in shown:
                spread = [[row.loss - row.low], [row.high - row.loss]]
                axis.errorbar(row.loss, height, xerr=spread, fmt="o", ms=5, lw=1.5, color=_colour(row.config))
            else:
                axis.annotate(f"{row.loss:.2f} →", (limit, height), ha="right", va="center", color=_colour(row.config))
        axis.set_yticks(range(len(rows)), [f"{row.config}  {row.parameters:,}" for row in rows])
        axis.set(
            xlabel="loss on unseen rows, nats a token",
            title=TITLES[name],
            xlim=(None, limit),
            ylim=(len(rows) - 0.5, -0.5),
        )
        axis.grid(axis="x", alpha=0.3)
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
