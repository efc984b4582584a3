"""What a job is to do, read once, and how it says where it is."""

from dataclasses import dataclass

from sqlalchemy import select

from db import jobs
from db.jobs import Lease
from db.models import Adapter, Dataset, Job
from db.session import session
from prolora.plan import Plan


@dataclass(frozen=True)
class KeptAdapter:
    """What an earlier attempt left that died between training and its last score."""

    id: int
    content_hash: str


@dataclass(frozen=True)
class Work:
    """A claimed job, read once."""

    lease: Lease
    owner_id: int
    name: str
    plan: Plan
    dataset_id: int
    dataset_hash: str
    adapter: KeptAdapter | None


def load(lease: Lease) -> Work:
    with session() as s:
        job = s.get_one(Job, lease.job_id)
        dataset = s.get_one(Dataset, job.dataset_id)
        adapter = s.scalar(select(Adapter).where(Adapter.job_id == job.id))
        return Work(
            lease=lease,
            owner_id=job.owner_id,
            name=job.name,
            plan=Plan.from_json(job.plan),
            dataset_id=dataset.id,
            dataset_hash=dataset.content_hash,
            adapter=KeptAdapter(adapter.id, adapter.content_hash) if adapter else None,
        )


def say(lease: Lease, stage: str) -> None:
    with session() as s:
        jobs.progress(s, lease, stage=stage)
