"""Jobs come into being: from the wizard, as a repetition, as a grid. Commit, then ring."""

import secrets
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.jobs import refusals
from app.services.jobs.choice import Choice, origin_plan, plan_of
from app.services.jobs.lines import FINISHED, JobError, job_of_mine
from app.services.planning import Offer, offer
from db import jobs as rows
from db.models import OWNER, Batch, Job
from db.queue import enqueue
from db.session import session
from prolora.base_models import trainable
from prolora.errors import PlanError
from prolora.methods import count
from prolora.plan import Plan


def start(choice: Choice) -> list[int]:
    """Queue the run and what is to be compared with it: same data, seed and schedule."""
    return start_all([choice])


def start_all(choices: Sequence[Choice], batch: Batch | None = None) -> list[int]:
    """Queue the runs of several choices that have one dataset and one base: all of them, or none.

    Twins do not wait for one another: each measures the base itself where nobody has yet, so that two workers
    train them side by side, and one worker spares itself the second measurement anyway.
    """
    first = choices[0]
    if first.dataset is None:
        raise PlanError("Choose a dataset first: there is nothing to train on.")
    offers = {budget: offer(first.base, budget) for budget in dict.fromkeys(each.budget for each in choices)}
    with session() as s:
        origin = origin_plan(s, first)
    planned = [(each, _plans(each, offers[each.budget], origin)) for each in choices]
    refusals.teaches_nothing(first.dataset, planned[0][1][0])  # all have one base and one cut-off
    with session() as s:
        if batch is not None:
            s.add(batch)
            s.flush()
        made = [job for each, plans in planned for job in _jobs(s, each, offers[each.budget], plans)]
        for job in made:
            job.batch_id = batch.id if batch else None
        ids = [rows.submit(s, job) for job in made]
    ring(ids)
    return ids


def retry(job_id: int) -> int:
    """The same plan once more, as a new job."""
    with session() as s:
        again = repetition(s, job_of_mine(s, job_id))
        new_id = rows.submit(s, again)
    ring([new_id])
    return new_id


def repetition(s: Session, job: Job) -> Job:
    """A job like one that has ended, not yet submitted; raises when it could not run any more."""
    if job.status.value not in FINISHED:
        raise JobError(f"Job {job.id} has not ended yet. Cancel it first, or clone it.")
    refusals.dataset_of(s, job.dataset_id)
    plan = Plan.from_json(job.plan)
    refusals.refuse(s, plan, trainable(plan.base_model).shapes, job.gpus)
    return Job(
        owner_id=OWNER,
        dataset_id=job.dataset_id,
        name=job.name,
        plan=job.plan,
        parameters=job.parameters,
        kind=job.kind,
        pair=job.pair,
        batch_id=job.batch_id,
        after_id=_newest(s, job.after_id),
        origin_id=job.id,
        priority=job.priority,
        gpus=job.gpus,
    )


def _plans(choice: Choice, offered: Offer, origin: Plan | None) -> list[Plan]:
    return [plan_of(choice, offered, each, origin) for each in choice.methods]


def _jobs(s: Session, choice: Choice, offered: Offer, plans: Sequence[Plan]) -> list[Job]:
    dataset = refusals.dataset_of(s, choice.dataset)
    earlier = refusals.predecessor(s, choice.after or None)
    pair = secrets.token_hex(8) if len(plans) > 1 else None
    gpus = int(choice.gpus or 1)
    shapes = offered.base.shapes
    for plan in plans:
        refusals.refuse(s, plan, shapes, gpus)
    return [
        Job(
            owner_id=OWNER,
            dataset_id=dataset.id,
            name=choice.name.strip()[:120] or dataset.name,
            plan=plan.to_json(),
            parameters=count(plan.method, plan.setting, shapes, plan.target_modules),
            pair=pair,
            after_id=earlier.id if earlier else None,
            origin_id=choice.origin,
            gpus=gpus,
        )
        for plan in plans
    ]


def _newest(s: Session, job_id: int | None) -> int | None:
    """Of a job and its repetitions the last one, which is worth waiting for; raises when it is not."""
    while job_id is not None and (later := s.scalar(select(func.max(Job.id)).where(Job.origin_id == job_id))):
        job_id = later
    earlier = refusals.predecessor(s, job_id)
    return earlier.id if earlier else None


def ring(ids: Sequence[int]) -> None:
    for job_id in ids:
        enqueue(job_id)
