"""What a job is to do, read once, and how it says where it is."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import jobs
from db.jobs import Lease
from db.models import Adapter, Dataset, Job
from db.outage import patiently
from prolora.errors import StudioError
from prolora.plan import Plan


class NothingToMeasure(StudioError):  # noqa: N818
    """An evaluation of a job that left no adapter."""


@dataclass(frozen=True)
class KeptAdapter:
    """What an earlier attempt left that died between training and its last score, or an earlier job left whole."""

    id: int
    content_hash: str


@dataclass(frozen=True)
class Work:
    """A claimed job that trains or measures, read once."""

    lease: Lease
    kind: str
    owner_id: int
    name: str
    plan: Plan
    dataset_id: int
    dataset_hash: str
    adapter: KeptAdapter | None


@dataclass(frozen=True)
class Assignment:
    """A claimed job, as far as its supervisor has to know it."""

    lease: Lease
    kind: str
    gpus: int


def assignment(lease: Lease) -> Assignment:
    return patiently(lambda s: assigned(s, lease))


def assigned(s: Session, lease: Lease) -> Assignment:
    job = s.get_one(Job, lease.job_id)
    return Assignment(lease, job.kind, job.gpus)


def load(lease: Lease) -> Work:
    """Of a job that trains, or that measures the adapter of the one before it again."""
    return patiently(lambda s: _read(s, lease))


def _read(s: Session, lease: Lease) -> Work:
    job = s.get_one(Job, lease.job_id)
    dataset = s.get_one(Dataset, job.dataset_id)
    subject = job.after_id if job.kind == "evaluate" else job.id
    adapter = s.scalar(select(Adapter).where(Adapter.job_id == subject))
    if job.kind == "evaluate" and adapter is None:
        raise NothingToMeasure(
            f"Job {subject or 'none'}, which this one is to measure again, left no adapter. Evaluate another one."
        )
    return Work(
        lease=lease,
        kind=job.kind,
        owner_id=job.owner_id,
        name=job.name,
        plan=Plan.from_json(job.plan),
        dataset_id=dataset.id,
        dataset_hash=dataset.content_hash,
        adapter=KeptAdapter(adapter.id, adapter.content_hash) if adapter else None,
    )


def plan_of(lease: Lease) -> dict[str, Any]:
    """A plan as it stands in the row, of whatever kind its job is."""
    return patiently(lambda s: s.get_one(Job, lease.job_id).plan)


def say(lease: Lease, stage: str) -> None:
    patiently(lambda s: jobs.progress(s, lease, stage=stage))
