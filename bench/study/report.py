"""What the runs of the study say: best learning rates, tables with intervals, paired tests, plots."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.study import plots
from bench.study.data import Tasks
from bench.study.design import BY_NAME, CONFIGS, GRIDS, RHO, SEEDS
from bench.study.run import ALPHA, BATCH, DROPOUT, EPOCHS, LENGTH, Outcome

Numbers = NDArray[np.float64]
Runs = dict[str, list[Outcome]]  # of one reading: a line's runs in the order of SEEDS
DRAWS = 10_000
READINGS = {
    "own": "Each method at its own learning rate",
    "paper": "Every method at LoRA's learning rate, as in the paper",
}
# What is asked, before it is seen; the first of each pair is hoped to be the better.
QUESTIONS = (
    ("PRoLoRA 2", "LoRA 2"),
    ("PRoLoRA 8", "LoRA 8"),
    ("PRoLoRA 16", "LoRA 16"),
    ("PRoLoRA 4", "LoRA 8"),
    ("PRoLoRA 8", "LoRA 16"),
    *(("PRoLoRA 8", other.name) for other in CONFIGS if other.rho == RHO and other.name not in ("PRoLoRA 8", "LoRA 8")),
)


@dataclass(frozen=True)
class Row:
    """One line of a table; losses are nats a trained token on the test rows."""

    config: str
    setting: tuple[int, int, int, int]
    parameters: int
    learning_rate: float
    seeds: tuple[float, ...]
    loss: float  # mean of the seeds
    low: float
    high: float  # 95 %, over test rows and seeds


@dataclass(frozen=True)
class Comparison:
    first: str
    second: str
    difference: float  # loss of the first less that of the second; below 0 the first is better
    low: float
    high: float
    p: float  # two-sided, by the paired bootstrap
    p_holm: float  # over the table
    words: str


def best_rates(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The learning rate of least validation loss, of each line that has a grid."""
    return {name: min(points, key=lambda point: point[1])[0] for name, points in validation(outcomes).items()}


def reading(outcomes: Sequence[Outcome], best: Mapping[str, float], name: str) -> Runs:
    """The runs of one reading; a line that was not run in it is missing."""
    rates = {config.name: best["LoRA 8" if name == "paper" else config.tuned_as] for config in CONFIGS}
    chosen: Runs = {}
    for found in sorted(outcomes, key=lambda f: f.seed):
        if found.seed in SEEDS and found.learning_rate == rates[found.config]:
            chosen.setdefault(found.config, []).append(found)
    return {config: chosen[config] for config in BY_NAME if len(chosen.get(config, ())) == len(SEEDS)}


def draws(losses: Numbers, tokens: Numbers, seeds: Numbers, rows: Numbers) -> Numbers:
    """Nats a token of each draw, from losses (seed, row).

    seeds (draw, seed) and rows (draw, row) say how often each counts.
    """
    weighted: Numbers = (seeds @ losses) * rows
    averages: Numbers = weighted.sum(axis=1) / (seeds.sum(axis=1) * (rows @ tokens))
    return averages


class Bootstrap:
    """Draws of test rows, the same for every line since all met the same rows, and of seeds, own to each line."""

    def __init__(self, tokens: Numbers) -> None:
        self.tokens, self.random = tokens, np.random.default_rng(1)
        self.rows = self._counts(len(tokens))

    def _counts(self, among: int) -> Numbers:
        return self.random.multinomial(among, np.full(among, 1 / among), size=DRAWS).astype(np.float64)

    def of(self, runs: Sequence[Outcome]) -> Numbers:
        return draws(matrix(runs), self.tokens, self._counts(len(runs)), self.rows)


def matrix(runs: Sequence[Outcome]) -> Numbers:
    return np.array([run.losses for run in runs])


def row(runs: Sequence[Outcome], bootstrap: Bootstrap) -> Row:
    per_seed = matrix(runs).sum(axis=1) / bootstrap.tokens.sum()
    low, high = np.percentile(bootstrap.of(runs), [2.5, 97.5])
    return Row(
        config=runs[0].config,
        setting=runs[0].setting,
        parameters=runs[0].parameters,
        learning_rate=runs[0].learning_rate,
        seeds=tuple(per_seed.round(4).tolist()),
        loss=round(float(per_seed.mean()), 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
    )


def compare(runs: Runs, bootstrap: Bootstrap) -> list[Comparison]:
    pairs = [pair for pair in QUESTIONS if set(pair) <= runs.keys()]
    differences = [bootstrap.of(runs[first]) - bootstrap.of(runs[second]) for first, second in pairs]
    values = [2 * min((each <= 0).mean(), (each >= 0).mean()) for each in differences]
    ps = [min(max(float(p), 1 / DRAWS), 1.0) for p in values]
    rows = zip(pairs, differences, ps, holm(ps), strict=True)
    return [comparison(pair, difference, p, adjusted) for pair, difference, p, adjusted in rows]


def comparison(pair: tuple[str, str], difference: Numbers, p: float, adjusted: float) -> Comparison:
    low, middle, high = (float(value) for value in np.percentile(difference, [2.5, 50, 97.5]))
    verdict = f"{pair[0]} is {'better' if middle < 0 else 'worse'} than {pair[1]}"
    words = verdict if adjusted < 0.05 else f"no difference shown between {pair[0]} and {pair[1]}"
    return Comparison(*pair, round(middle, 4), round(low, 4), round(high, 4), round(p, 4), round(adjusted, 4), words)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p-value, adjusted for how many were looked at (Holm's step-down)."""
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, ps[index] * (len(ps) - rank)))
        adjusted[index] = highest
    return adjusted


def write(outcomes: Sequence[Outcome], tasks: Tasks, folder: Path) -> None:
    """study.json with all figures, README.md with tables and words, and the plots."""
    outcomes = [found for found in outcomes if found.task == tasks.content_hash]
    best = best_rates(outcomes)
    bootstrap = Bootstrap(np.array([example.trained for example in tasks.test], dtype=np.float64))
    tables = {}
    for name in READINGS:
        runs = reading(outcomes, best, name)
        tables[name] = ([row(each, bootstrap) for each in runs.values()], compare(runs, bootstrap))
    figures = {name: {"rows": rows, "comparisons": found} for name, (rows, found) in tables.items()}
    about = {"alpha": ALPHA, "dropout": DROPOUT, "batch": BATCH, "epochs": EPOCHS, "cut_off": LENGTH}
    about |= {"train_rows": len(tasks.train), "validation_rows": len(tasks.validation), "test_rows": len(tasks.test)}
    seconds = [found.seconds for found in outcomes]
    about |= {"runs": len(outcomes), "median_seconds": statistics.median(seconds), "longest_seconds": max(seconds)}
    report = {"about": about, "best_learning_rates": best, **figures}
    (folder / "study.json").write_text(json.dumps(report, indent=1, default=vars) + "\n")
    (folder / "README.md").write_text(page(tables, validation(outcomes), about))
    plots.losses({name: rows for name, (rows, _) in tables.items()}, folder / "losses.svg")
    plots.rates(validation(outcomes), folder / "learning_rates.svg")


def validation(outcomes: Sequence[Outcome]) -> dict[str, list[tuple[float, float]]]:
    """(learning rate, summed validation loss in nats) of each tuned line; a run that diverged lost infinitely much."""
    tuned = [(f.config, f.learning_rate, sum(f.losses)) for f in outcomes if f.split == "validation"]
    return {
        name: sorted(
            (rate, loss if math.isfinite(loss) else math.inf) for config, rate, loss in tuned if config == name
        )
        for name in GRIDS
    }


def page(
    tables: Mapping[str, tuple[list[Row], list[Comparison]]],
    tuned: Mapping[str, list[tuple[float, float]]],
    about: Mapping[str, Any],
) -> str:
    parts = [INTRODUCTION.format(**about)]
    for name, (rows, comparisons) in tables.items():
        parts.append(f"## {READINGS[name]}\n\n{_table(rows)}\n\n{_tests(comparisons)}")
    grids = [f"- {name}: {_grid(points)}" for name, points in tuned.items()]
    parts.append("## Learning rates on the validation rows, in nats over all of them\n\n" + "\n".join(grids))
    parts.append("![Losses](losses.svg)\n\n![Learning rates](learning_rates.svg)")
    return "\n\n".join(parts) + "\n"


def _grid(points: Sequence[tuple[float, float]]) -> str:
    best = min(points, key=lambda point: point[1])
    words = ", ".join(f"{rate:g}: {loss:.0f}" for rate, loss in points)
    return words + (" (the best is at the grid's edge: others may be better still)" if best in _ends(points) else "")


def _ends(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    return points[0], points[-1]


def _table(rows: Sequence[Row]) -> str:
    lines = ["| method | (r, u, m, n) | parameters | learning rate | loss, 95 % | seeds |", "|---|---|--:|--:|---|---|"]
    lines += [
        f"| {r.config} | {r.setting} | {r.parameters:,} | {r.learning_rate:g} | {r.loss:.3f} ({r.low:.3f} to "
        f"{r.high:.3f}) | {', '.join(f'{seed:.3f}' for seed in r.seeds)} |"
        for r in rows
    ]
    return "\n".join(lines)


def _tests(comparisons: Sequence[Comparison]) -> str:
    lines = ["| first, second | difference, 95 % | p, by Holm | in words |", "|---|---|--:|---|"]
    lines += [
        f"| {c.first}, {c.second} | {c.difference:+.3f} ({c.low:+.3f} to {c.high:+.3f}) | {c.p_holm:.3g} | {c.words} |"
        for c in comparisons
    ]
    return "\n".join(lines)


INTRODUCTION = """# The paper's claim on the demo base

Made by `python -m bench.study --data GSM8K_FOLDER`; every run is a line of runs.jsonl, every figure stands in
study.json. {runs} runs on one thread, of {median_seconds:.0f} s in the median and {longest_seconds:.0f} s at most: the
demo base (3.4M parameters) in NF4 learns {train_rows} of GSM8K's training rows of at most {cut_off} tokens for
{epochs:g} epochs, batch {batch}, alpha {alpha:g}, dropout {dropout}. The loss is nats a response token on {test_rows}
rows of GSM8K's test file; learning rates were chosen on {validation_rows} other training rows with a seed that is not
reported. The number behind a method is rho, the rank of the LoRA with as many parameters; lines without one are at
rho = 8. Differences are paired over rows, and intervals hold rows and seeds. The base has never met such text, so this
is a test of how much an adapter can take in, on a model far smaller than the paper's: it neither confirms nor refutes
what holds at 7B."""
