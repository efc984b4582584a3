"""What a person can do with jobs: start them, watch them, cancel them."""

import re
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.services import surveys
from app.services.planning import Offer, fit_of, offer
from db import files, scores
from db import jobs as rows
from db.models import OWNER, Adapter, Dataset, Job, Score, Status
from db.queue import enqueue
from db.session import session
from prolora.base_models import BaseModel
from prolora.errors import PlanError, StudioError
from prolora.methods import count
from prolora.plan import Plan, Quantization, Setting

LOG_LINES, LOG_BYTES = 200, 64_000
FINISHED = frozenset(status.value for status in rows.ENDINGS)
COLOUR_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class JobError(StudioError):
    """A job that is not there, or that cannot be done what was asked."""


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

    @property
    def methods(self) -> tuple[str, ...]:
        """All that are to be trained, the chosen one first."""
        return tuple(dict.fromkeys([self.method, *(("lora",) if self.twin else ()), *(self.peers or ())]))


@dataclass(frozen=True)
class Line:
    """A job in a list."""

    id: int
    name: str
    method: str
    setting: str
    parameters: int
    base: str
    dataset_id: int
    dataset: str
    pair: str | None
    status: str
    stage: str
    step: int
    total_steps: int
    cancel_requested: bool
    note: str | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def share(self) -> float:
        if self.status == Status.SUCCEEDED:
            return 1.0
        return self.step / self.total_steps if self.total_steps else 0.0

    def seconds(self, at: datetime) -> float:
        """How long it ran, up to now or to its end."""
        return ((self.finished_at or at) - (self.started_at or at)).total_seconds()

    def left(self, at: datetime) -> float | None:
        """Seconds of training left, judged by the steps so far."""
        if self.status != Status.RUNNING or not 0 < self.step < self.total_steps:
            return None
        return self.seconds(at) / self.step * (self.total_steps - self.step)


@dataclass(frozen=True)
class Measure:
    subject: str  # adapter or base
    metric: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Curve:
    job_id: int
    method: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Detail:
    line: Line
    peers: tuple[Line, ...]  # runs of other methods that were started with it
    plan: Plan
    adapter_id: int | None
    adapter: str | None
    scores: tuple[Measure, ...]


def start(choice: Choice) -> list[int]:
    """Queue the run and what is to be compared with it: same data, seed and schedule. Commit, then ring."""
    if choice.dataset is None:
        raise PlanError("Choose a dataset first: there is nothing to train on.")
    offered = offer(choice.base, choice.budget)
    plans = [_plan(choice, offered, each) for each in choice.methods]
    _refuse_to_teach_nothing(choice.dataset, plans[0])  # all have one base and one cut-off
    pair = secrets.token_hex(8) if len(plans) > 1 else None
    with session() as s:
        dataset = s.get(Dataset, choice.dataset)
        if dataset is None or dataset.owner_id != OWNER:
            raise PlanError(f"There is no dataset number {choice.dataset}. Choose another.")
        name = choice.name.strip()[:120] or dataset.name
        ids = [rows.submit(s, _job(each, offered.base, dataset.id, name, pair)) for each in plans]
    for job_id in ids:
        enqueue(job_id)
    return ids


def cancel(job_id: int) -> bool:
    """Ask a job to stop; False when it has ended already."""
    with session() as s:
        _mine(s, job_id)
        return rows.request_cancel(s, job_id)


def listing(limit: int = 200) -> list[Line]:
    """Newest first."""
    with session() as s:
        return [_line(job, name) for job, name in s.execute(_lines().order_by(Job.id.desc()).limit(limit))]


def unfinished() -> list[Line]:
    """Queued and running, oldest first."""
    waiting = _lines().where(Job.status.not_in(rows.ENDINGS)).order_by(Job.id)
    with session() as s:
        return [_line(job, name) for job, name in s.execute(waiting)]


def detail(job_id: int) -> Detail:
    with session() as s:
        job = _mine(s, job_id)
        same_pair = Job.pair == job.pair if job.pair else Job.id == job_id
        pair = [_line(each, name) for each, name in s.execute(_lines().where(same_pair).order_by(Job.id))]
        adapter = s.scalar(select(Adapter).where(Adapter.job_id == job_id))
        measured = s.scalars(select(Score).where(Score.job_id == job_id).order_by(Score.id)).all()
        return Detail(
            line=next(line for line in pair if line.id == job_id),
            peers=tuple(line for line in pair if line.id != job_id),
            plan=Plan.from_json(job.plan),
            adapter_id=adapter.id if adapter else None,
            adapter=adapter.name if adapter else None,
            scores=tuple(Measure(m.subject, m.metric, m.value, m.low, m.high, m.n) for m in measured),
        )


def curves(lines: list[Line], metric: str = "loss") -> list[Curve]:
    """One metric of several jobs, thinned in SQL."""
    with session() as s:
        return [Curve(line.id, line.method, tuple(scores.curve(s, line.id, metric))) for line in lines]


def log_tail(job_id: int) -> str:
    """The last lines of the job's log, without terminal colours and overwritten progress bars."""
    path = files.job_log(job_id)
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - LOG_BYTES, 0))
        text = file.read().decode(errors="replace")
    lines = (line.rsplit("\r", 1)[-1] for line in COLOUR_CODES.sub("", text).split("\n"))
    return "\n".join(deque(lines, LOG_LINES)).strip()


def now() -> datetime:
    return datetime.now(UTC)


def _plan(choice: Choice, offered: Offer, method: str) -> Plan:
    """A setting of another budget gives way to the best of this one, as in the summary."""
    base, fit = offered.base, fit_of(offered, choice.setting, method)
    return Plan(
        method=fit.method,
        setting=fit.setting,
        base_model=base.name,
        quantization=choice.quantization,
        alpha=base.defaults.alpha_of(fit.setting),
        dropout=base.defaults.dropout,
        learning_rate=_number(choice.learning_rate, "learning rate"),
        epochs=_number(choice.epochs, "number of epochs"),
        batch_size=int(_number(choice.batch_size, "batch size")),
        max_length=int(_number(choice.max_length, "cut-off")),
        seed=int(_number(choice.seed, "seed")),
        target_modules=fit.target_modules,
    )


def _refuse_to_teach_nothing(dataset_id: int, plan: Plan) -> None:
    """Before a graphics card is waited for; where lengths are not known yet, training finds out by itself."""
    left = surveys.cut(dataset_id, plan.base_model, plan.max_length)
    if left is not None and left.untrained == left.rows:
        raise PlanError(
            f"No row would teach anything: every prompt alone fills the cut-off of {plan.max_length} tokens. "
            "Raise the cut-off and start again."
        )


def _number(value: float | None, what: str) -> float:
    """A cleared field arrives as None."""
    if value is None or not isfinite(value):
        raise PlanError(f"The {what} is empty. Give a number.")
    return value


def _job(plan: Plan, base: BaseModel, dataset_id: int, name: str, pair: str | None) -> Job:
    parameters = count(plan.method, plan.setting, base.shapes, plan.target_modules)
    return Job(owner_id=OWNER, dataset_id=dataset_id, name=name, plan=plan.to_json(), parameters=parameters, pair=pair)


def _mine(s: Session, job_id: int) -> Job:
    job = s.get(Job, job_id)
    if job is None or job.owner_id != OWNER:
        raise JobError(f"There is no job number {job_id}. It may be in another data folder.")
    return job


def _lines() -> Select[Job, str]:
    return select(Job, Dataset.name).join(Dataset, Dataset.id == Job.dataset_id).where(Job.owner_id == OWNER)


def _line(job: Job, dataset: str) -> Line:
    return Line(
        id=job.id,
        name=job.name,
        method=job.plan["method"],
        setting=str(Setting(**job.plan["setting"])),
        parameters=job.parameters,
        base=job.plan["base_model"],
        dataset_id=job.dataset_id,
        dataset=dataset,
        pair=job.pair,
        status=job.status.value,
        stage=job.stage,
        step=job.step,
        total_steps=job.total_steps,
        cancel_requested=job.cancel_requested,
        note=job.note,
        error=job.error,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )
