"""After an out-of-memory: the nearest plan that fits where the job ran."""

from sqlalchemy.orm import Session

from app.services import workers
from app.services.estimate import Fitting, settings_that_fit
from db.models import Job
from prolora.errors import PlanError
from prolora.plan import Plan


def fit(s: Session, job: Job) -> Fitting:
    """The plan that changes least. The device is the one of the job's own record, or else the largest there is."""
    plan, memory = Plan.from_json(job.plan), job.record.get("device_bytes")
    device = str(job.record.get("device", "cuda"))
    if not memory:
        largest = max(workers.alive(s), key=lambda each: each.memory_bytes, default=None)
        memory, device = (largest.memory_bytes, largest.device) if largest else (job.peak_bytes, device)
    if not memory:
        raise PlanError(
            f"How much memory job {job.id} had was not recorded, and no worker is there to ask. Clone it with changes, "
            "and choose more passes a batch."
        )
    found = settings_that_fit(plan, int(memory), job.peak_bytes, device, job.gpus)
    if not found:
        raise PlanError(
            f"No batch on {plan.base_model} fits into {memory / 2**30:.1f} GiB, however small. Choose a smaller base "
            "model, or a worker with more memory."
        )
    return found[0]
