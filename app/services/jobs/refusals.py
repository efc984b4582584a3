"""What cannot run is refused when it is queued, with the reason: not in the middle of the night."""

from sqlalchemy.orm import Session

from app.services import surveys, workers
from app.services.jobs.lines import job_of_mine
from db import files
from db.models import OWNER, Dataset, Job, Status
from prolora.base_models import Shapes
from prolora.errors import PlanError
from prolora.methods import family
from prolora.plan import Plan


def dataset_of(s: Session, dataset_id: int | None) -> Dataset:
    """The dataset, with its rows in their place."""
    if dataset_id is None:
        raise PlanError("Choose a dataset first: there is nothing to train on.")
    dataset = s.get(Dataset, dataset_id)
    if dataset is None or dataset.owner_id != OWNER:
        raise PlanError(f"There is no dataset number {dataset_id}. Choose another.")
    if not files.dataset_rows(dataset.content_hash).is_file():
        raise PlanError(
            f"The rows of “{dataset.name}” are gone: {files.dataset_rows(dataset.content_hash)} does not exist. "
            "Bring the file in again, or choose another dataset."
        )
    return dataset


def refuse(s: Session, plan: Plan, shapes: Shapes, gpus: int) -> None:
    """Raise for a plan that no worker could carry out on this base."""
    _rank(plan, shapes)
    if gpus < 1:
        raise PlanError(f"A run takes at least one device, not {gpus}.")
    plan.rows_at_once(gpus)
    most = max((worker.gpus for worker in workers.alive(s)), default=gpus)
    if gpus > most:
        raise PlanError(
            f"No worker has {gpus} devices; the largest here has {most}. Ask for at most {most}, or start a worker "
            f"with {gpus} first."
        )


def teaches_nothing(dataset_id: int, plan: Plan) -> None:
    """Where lengths are not known yet, training finds out by itself."""
    left = surveys.cut(dataset_id, plan.base_model, plan.max_length)
    if left is not None and left.untrained == left.rows:
        raise PlanError(
            f"No row would teach anything: every prompt alone fills the cut-off of {plan.max_length} tokens. "
            "Raise the cut-off and start again."
        )


def predecessor(s: Session, job_id: int | None) -> Job | None:
    """The job to wait for; raises when waiting would be in vain."""
    if job_id is None:
        return None
    job = job_of_mine(s, job_id)
    if job.status in (Status.FAILED, Status.CANCELLED):
        raise PlanError(f"Job {job_id} has {job.status}, so it cannot be waited for. Start that one again first.")
    return job


def _rank(plan: Plan, shapes: Shapes) -> None:
    """A product of more ranks than its narrowest side is wide says nothing that one of fewer does not.

    Methods of other families scale or multiply what is frozen, and may gain by more.
    """
    if family(plan.method) == "other":
        return
    narrowest = min(shapes.targets(plan.target_modules), key=lambda each: min(each.inputs, each.outputs))
    width = min(narrowest.inputs, narrowest.outputs)
    if plan.setting.r > width:
        raise PlanError(
            f"Rank {plan.setting.r} is more than {narrowest.name} is wide ({width}) on {plan.base_model}. "
            f"Choose a budget whose rank is at most {width}."
        )
