"""A job as the facts that its run's file holds: plain values, read from the rows."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Dataset, Job, Metric, Score

RAN_ON = ("code", "versions", "device", "devices", "base_revision")  # of the record; where it ran is nobody's affair
FETCHED = ("name", "config", "split", "revision")  # what the hub has to be asked for


def facts(s: Session, job: Job) -> dict[str, Any]:
    """All that is needed to do it again, and what came out of it."""
    dataset = s.get_one(Dataset, job.dataset_id)
    return {
        "name": job.name,
        "gpus": job.gpus,
        "parameters": job.parameters,
        "plan": {**job.plan, "target_modules": list(job.plan["target_modules"])},
        "dataset": _dataset(dataset),
        "ran_on": {name: job.record[name] for name in RAN_ON if name in job.record},
        "results": {"step": job.step, "total_steps": job.total_steps, **results(s, job.id)},
    }


def results(s: Session, job_id: int) -> dict[str, dict[Any, float]]:
    """The losses by step, all of them, and the held-out scores of the adapter by metric."""
    points = select(Metric.step, Metric.value).where(Metric.job_id == job_id, Metric.name == "loss")
    scored = select(Score.metric, Score.value).where(Score.job_id == job_id, Score.subject == "adapter")
    losses = s.execute(points.order_by(Metric.step)).tuples()
    scores = s.execute(scored.order_by(Score.metric)).tuples()
    return {"losses": dict(losses.all()), "scores": dict(scores.all())}


def _dataset(dataset: Dataset) -> dict[str, Any]:
    known = {
        "name": dataset.name,
        "content_hash": dataset.content_hash,
        "source_name": dataset.source_name,
        "source_hash": dataset.source_hash,
        "rows": dataset.kept,
    }
    hub = dataset.report.get("hub")
    return {**known, "hub": {part: hub[part] for part in FETCHED}} if hub else known
