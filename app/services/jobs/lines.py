"""Jobs in lists: all that match a filter, a page at a time, and those that are not done."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from db import jobs as rows
from db.models import OWNER, Dataset, Job, Status
from db.session import session
from prolora.errors import StudioError
from prolora.plan import Setting

FINISHED = frozenset(status.value for status in rows.ENDINGS)
PAGE = 50  # jobs of a list on one page


class JobError(StudioError):
    """A job that is not there, or that cannot be done what was asked."""


@dataclass(frozen=True)
class Line:
    """A job in a list."""

    id: int
    name: str
    method: str
    setting: str
    parameters: int
    learning_rate: float
    seed: int
    base: str
    dataset_id: int
    dataset: str
    pair: str | None
    batch_id: int | None
    after_id: int | None
    origin_id: int | None
    priority: int
    gpus: int
    status: str
    stage: str
    step: int
    total_steps: int
    cancel_requested: bool
    stop_requested: bool
    note: str | None
    error: str | None
    reason: str | None
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
class Filter:
    """Which jobs are wanted; what is empty does not matter."""

    state: str = ""
    method: str = ""
    dataset: int | None = None
    batch: int | None = None
    text: str = ""  # in the name

    def conditions(self) -> list[ColumnElement[bool]]:
        wanted: list[ColumnElement[bool]] = [Job.owner_id == OWNER]
        if self.state in tuple(Status):
            wanted.append(Job.status == Status(self.state))
        if self.method:
            wanted.append(Job.plan["method"].as_string() == self.method)
        if self.dataset is not None:
            wanted.append(Job.dataset_id == self.dataset)
        if self.batch is not None:
            wanted.append(Job.batch_id == self.batch)
        if self.text.strip():
            wanted.append(Job.name.icontains(self.text.strip(), autoescape=True))
        return wanted


ALL = Filter()


def listing(wanted: Filter = ALL, page: int = 1) -> list[Line]:
    """One page of the jobs that match, newest first."""
    chosen = lines().where(*wanted.conditions()).order_by(Job.id.desc()).limit(PAGE).offset((page - 1) * PAGE)
    return _read(chosen)


def total(wanted: Filter = ALL) -> int:
    with session() as s:
        return s.scalar(select(func.count()).select_from(Job).where(*wanted.conditions())) or 0


def unfinished(limit: int = PAGE) -> list[Line]:
    """Queued and running, oldest first."""
    return _read(lines().where(Job.status.not_in(rows.ENDINGS)).order_by(Job.id).limit(limit))


def now() -> datetime:
    return datetime.now(UTC)


def job_of_mine(s: Session, job_id: int) -> Job:
    job = s.get(Job, job_id)
    if job is None or job.owner_id != OWNER:
        raise JobError(f"There is no job number {job_id}. It may be in another data folder.")
    return job


def lines() -> Select[Job, str]:
    return select(Job, Dataset.name).join(Dataset, Dataset.id == Job.dataset_id).where(Job.owner_id == OWNER)


def line(job: Job, dataset: str) -> Line:
    plan = job.plan
    return Line(
        id=job.id,
        name=job.name,
        method=plan["method"],
        setting=str(Setting(**plan["setting"])),
        parameters=job.parameters,
        learning_rate=plan["learning_rate"],
        seed=plan["seed"],
        base=plan["base_model"],
        dataset_id=job.dataset_id,
        dataset=dataset,
        pair=job.pair,
        batch_id=job.batch_id,
        after_id=job.after_id,
        origin_id=job.origin_id,
        priority=job.priority,
        gpus=job.gpus,
        status=job.status.value,
        stage=job.stage,
        step=job.step,
        total_steps=job.total_steps,
        cancel_requested=job.cancel_requested,
        stop_requested=job.stop_requested,
        note=job.note,
        error=job.error,
        reason=job.reason,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _read(wanted: Select[Job, str]) -> list[Line]:
    with session() as s:
        return [line(job, dataset) for job, dataset in s.execute(wanted)]
