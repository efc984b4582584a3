"""Before a run: what memory, time and disk it will take, and whether it fits the workers' cards."""

import shutil
from collections import Counter
from dataclasses import dataclass

from app.services import tokenizers, workers
from app.services.estimate import history
from app.services.estimate.disk import Space, space
from app.services.estimate.fitting import Fitting, changes
from app.services.estimate.history import Past, Rows
from app.services.estimate.memory import ROOMY, Calibration, Need, Verdict, calibrate, formula, kind_of, need
from app.services.estimate.pace import Pace, pace
from app.services.jobs.choice import Choice, origin_plan, plan_of
from app.services.planning import offer
from db import files
from db.session import session
from prolora.base_models import BaseModel
from prolora.errors import PlanError
from prolora.memory import BF16, Memory
from prolora.methods import count
from prolora.plan import Plan

CUDA = "cuda"  # any card


@dataclass(frozen=True)
class Card:
    """A device that workers have reported."""

    name: str
    memory_bytes: int
    workers: int
    alive: bool


@dataclass(frozen=True)
class OnCard:
    """The run that takes most, and the time of all runs, on one card."""

    card: Card
    heaviest: Plan
    need: Need
    verdict: Verdict
    calibration: Calibration
    changes: tuple[Fitting, ...]  # that would fit where it does not
    pace: Pace  # the least certain of the runs
    seconds: float  # of training, all runs one after another


@dataclass(frozen=True)
class Forecast:
    runs: int
    heaviest: Plan  # that takes the most memory
    rows: Rows
    need: Need  # of a card of the usual kind, by the formula alone
    cards: tuple[OnCard, ...]
    disk: Space  # of all runs
    free_bytes: int


def of(choice: Choice) -> Forecast:
    """Of the runs that a choice stands for; raises where it stands for none."""
    if choice.dataset is None:
        raise PlanError("Choose a dataset first: there is nothing to train on.")
    offered = offer(choice.base, choice.budget)
    with session() as s:
        origin = origin_plan(s, choice)
    plans = tuple(plan_of(choice, offered, method, origin) for method in choice.methods)
    asked = Asked(plans, offered.base, history.rows_of(choice.dataset, offered.base.name, plans[0].max_length))
    gpus, past = int(choice.gpus or 1), history.past()
    heaviest = asked.heaviest(CUDA, gpus)
    return Forecast(
        runs=len(plans),
        heaviest=heaviest,
        rows=asked.rows,
        need=need(asked.memory(heaviest, CUDA, gpus), CUDA, Calibration()),
        cards=tuple(on_card(card, asked, gpus, past) for card in cards(gpus)),
        disk=disk_of(asked),
        free_bytes=shutil.disk_usage(files.data_dir()).free,
    )


@dataclass(frozen=True)
class Asked:
    """The plans of one choice, which have base, rows and cut-off in common."""

    plans: tuple[Plan, ...]
    base: BaseModel
    rows: Rows

    def memory(self, plan: Plan, device: str, gpus: int) -> Memory:
        return formula(plan, self.base.shapes, min(self.rows.longest, plan.max_length), device, gpus)

    def heaviest(self, device: str, gpus: int) -> Plan:
        return max(self.plans, key=lambda plan: self.memory(plan, device, gpus).total)


def cards(gpus: int) -> list[Card]:
    """Those of the workers that can take such a run: of the ones that are there, or else of those last seen."""
    able = [line for line in workers.listing() if line.gpus >= gpus and line.memory_bytes > 0]
    there = [line for line in able if line.alive]
    found = Counter((line.device, line.memory_bytes) for line in there or able)
    return [Card(*card, workers=number, alive=bool(there)) for card, number in found.items()]


def on_card(card: Card, asked: Asked, gpus: int, past: Past) -> OnCard:
    calibration = calibrate(past.peaks[kind_of(card.name)])
    heaviest = asked.heaviest(card.name, gpus)

    def taken(plan: Plan) -> int:
        return need(asked.memory(plan, card.name, gpus), card.name, calibration).total

    needed = need(asked.memory(heaviest, card.name, gpus), card.name, calibration)
    verdict = needed.verdict(card.memory_bytes)
    fitting = () if verdict == Verdict.FITS else changes(heaviest, taken, int(ROOMY * card.memory_bytes), gpus)
    paces = [pace(plan, asked.base.shapes.base_parameters, card.name, gpus, past.speeds) for plan in asked.plans]
    through = asked.rows.tokens * heaviest.epochs
    seconds = sum(through / each.tokens_per_second for each in paces)
    return OnCard(card, heaviest, needed, verdict, calibration, fitting, max(paces, key=lambda each: each.off), seconds)


def disk_of(asked: Asked) -> Space:
    """A run's checkpoints go when it ends, so those of one run count, and what stays of all of them."""
    fetched = 0 if tokenizers.folder(asked.base) else BF16 * asked.base.shapes.base_parameters
    sizes = [count(plan.method, plan.setting, asked.base.shapes, plan.target_modules) for plan in asked.plans]
    runs = [space(plan, size, asked.rows.held_out_bytes) for plan, size in zip(asked.plans, sizes, strict=True)]
    return Space(
        checkpoints=max(each.checkpoints for each in runs),
        adapter=sum(each.adapter for each in runs),
        predictions=sum(each.predictions for each in runs),
        base=fetched,
    )
