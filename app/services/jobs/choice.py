"""What the wizard asks, and the plan that an answer stands for."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from sqlalchemy.orm import Session

from app.services.jobs.fitting import fit
from app.services.jobs.lines import job_of_mine
from app.services.planning import OF_ITS_SETTING, Offer, defaults, fit_of, key_of
from db.models import Job
from db.session import session
from prolora import runfile
from prolora.base_models import Shapes, find
from prolora.budget import smallest
from prolora.errors import BaseModelError, PlanError
from prolora.methods import Fit, count
from prolora.plan import Plan, Quantization
from prolora.runfile import RunFile


@dataclass(frozen=True)
class Choice:
    """What the wizard asks; its form has one field for each of these, in this order."""

    dataset: int | None
    base: str
    budget: str
    setting: str  # "r,u,m,n"
    name: str
    epochs: float
    learning_rate: float
    seed: int
    batch_size: int
    max_length: int
    quantization: Quantization
    twin: bool  # train the LoRA of equal budget too
    method: str = "prolora"
    peers: Sequence[str] = ()  # other methods to train at the same budget
    accumulation: int = 1  # passes that a batch is computed in
    gradient_checkpointing: bool = False
    gpus: int = 1  # devices of one host for each run
    after: int = 0  # the job to wait for, if any
    origin: int | None = None  # the job that this one is a changed copy of
    rates: str = ""  # a sweep's learning rates, budgets and seeds, as typed
    budgets: str = ""
    seeds: str = ""
    like: str = ""  # the plan from elsewhere, as JSON, that this one is a changed copy of

    @property
    def methods(self) -> tuple[str, ...]:
        """All that are to be trained, the chosen one first."""
        return tuple(dict.fromkeys([self.method, *(("lora",) if self.twin else ()), *(self.peers or ())]))


def fresh(dataset_id: int | None, base: str, budget: str) -> Choice:
    """What trains well on a base, before anybody has chosen."""
    usual = defaults(base)
    return Choice(
        dataset=dataset_id,
        base=base,
        budget=budget,
        setting="",
        name="",
        epochs=usual.epochs,
        learning_rate=usual.learning_rate,
        seed=1,
        batch_size=usual.batch_size,
        max_length=usual.max_length,
        quantization=usual.quantization,
        twin=True,
    )


def choice_of(job_id: int) -> Choice:
    """A job as the wizard would ask for it, to be changed."""
    with session() as s:
        job = job_of_mine(s, job_id)
        return _choice(job, Plan.from_json(job.plan))


def fitted_choice(job_id: int) -> tuple[Choice, str]:
    """A job that ran out of memory, as it would fit, and in words what was changed."""
    with session() as s:
        job = job_of_mine(s, job_id)
        fitted = fit(s, job)
        return _choice(job, fitted.plan), fitted.words


def _choice(job: Job, plan: Plan) -> Choice:
    cost = _budget(job.parameters, find(plan.base_model).shapes)
    return replace(_asked(plan, str(cost)), dataset=job.dataset_id, name=job.name, gpus=job.gpus, origin=job.id)


def choice_like(run: RunFile, dataset_id: int | None) -> Choice:
    """A run of another studio as the wizard would ask for it; its base need not be here."""
    with suppress(BaseModelError):
        shapes = find(run.plan.base_model).shapes
        cost = _budget(count(run.plan.method, run.plan.setting, shapes, run.plan.target_modules), shapes)
        return replace(_like(run, dataset_id), budget=str(cost))
    return _like(run, dataset_id)


def _like(run: RunFile, dataset_id: int | None) -> Choice:
    asked = _asked(run.plan, str(run.parameters or ""))
    return replace(asked, dataset=dataset_id, name=run.name[:120], gpus=run.gpus, like=json.dumps(run.plan.to_json()))


def _asked(plan: Plan, budget: str) -> Choice:
    return Choice(
        dataset=None,
        base=plan.base_model,
        budget=budget,
        setting=key_of(plan.setting),
        name="",
        epochs=plan.epochs,
        learning_rate=plan.learning_rate,
        seed=plan.seed,
        batch_size=plan.batch_size,
        max_length=plan.max_length,
        quantization=plan.quantization,
        twin=False,
        method=plan.method,
        accumulation=plan.accumulation,
        gradient_checkpointing=plan.gradient_checkpointing,
    )


def plan_of(choice: Choice, offered: Offer, method: str, origin: Plan | None) -> Plan:
    """A setting of another budget gives way to the best of this one, as in the summary.

    What the wizard does not ask is as in the job that is copied, or else as it trains well on the base.
    """
    base, found = offered.base, _fit(choice, offered, method, origin)
    asked: dict[str, Any] = {
        "method": found.method,
        "setting": found.setting,
        "base_model": base.name,
        "quantization": choice.quantization,
        "learning_rate": number(choice.learning_rate, "learning rate"),
        "epochs": number(choice.epochs, "number of epochs"),
        "batch_size": int(number(choice.batch_size, "batch size")),
        "max_length": int(number(choice.max_length, "cut-off")),
        "seed": int(number(choice.seed, "seed")),
        "target_modules": found.target_modules,
        "accumulation": int(number(choice.accumulation, "number of passes")),
        "gradient_checkpointing": bool(choice.gradient_checkpointing),
    }
    alpha = base.defaults.alpha_of(found.setting)
    if origin is None:
        return Plan(**asked, alpha=alpha, dropout=base.defaults.dropout)
    same = (origin.base_model, origin.setting) == (base.name, found.setting)
    return replace(origin, **asked, alpha=origin.alpha if same else alpha)


def _fit(choice: Choice, offered: Offer, method: str, origin: Plan | None) -> Fit:
    """That of the job that is copied, as long as its budget, base and setting were left as they are."""
    if origin is not None and (origin.method, origin.base_model) == (method, offered.base.name):
        cost = count(origin.method, origin.setting, offered.base.shapes, origin.target_modules)
        left = method not in OF_ITS_SETTING or choice.setting == key_of(origin.setting)
        if left and _budget(cost, offered.base.shapes) == offered.budget:
            return Fit(origin.method, origin.setting, origin.target_modules, cost, 0.0)
    return fit_of(offered, choice.setting, method)


def _budget(parameters: int, shapes: Shapes) -> int:
    """What buys a run of so many parameters: the wizard takes no budget that is too small for every PRoLoRA."""
    return max(parameters, smallest(shapes))


def origin_plan(s: Session, choice: Choice) -> Plan | None:
    """What counts where the wizard asks nothing."""
    if choice.origin is not None:
        return Plan.from_json(job_of_mine(s, int(choice.origin)).plan)
    return runfile.read_plan(choice.like) if choice.like else None


def number(value: float | None, what: str) -> float:
    """A cleared field arrives as None."""
    if value is None or not isfinite(value):
        raise PlanError(f"The {what} is empty. Give a number.")
    return value
