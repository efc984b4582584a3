"""After an out-of-memory: the nearest plan that fits, by the formula of prolora.memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from app.services import workers
from db.models import Job
from prolora.base_models import Shapes, trainable
from prolora.errors import PlanError
from prolora.memory import Training, estimate, knows
from prolora.plan import Plan

SAFE = 0.9  # of a device's memory; the rest is the driver's, and what lies between freed blocks
LESS = 0.75  # of what has just been too much, whatever the formula says of the device
SHORTEST = 64  # tokens of a cut-off


@dataclass(frozen=True)
class Fitted:
    plan: Plan
    words: str  # what was changed


def fit(s: Session, job: Job) -> Fitted:
    """The plan that changes least: more passes a batch first, then recomputed layers, a shorter cut-off last.

    Passes and recomputation cost time and leave the result as it is; a shorter cut-off does not.
    """
    plan = Plan.from_json(job.plan)
    shapes = trainable(plan.base_model).shapes
    if not knows(shapes):
        smallest = next(reversed(list(_smaller(plan, job.gpus, (plan.max_length,)))))
        return Fitted(smallest, _words(plan, smallest))
    room = _room(s, job, _needs(plan, shapes, job))
    for each in _smaller(plan, job.gpus, _cut_offs(plan)):
        if _needs(each, shapes, job) <= room:
            return Fitted(each, _words(plan, each))
    raise PlanError(
        f"No batch of {plan.base_model} fits into {room / 2**30:.1f} GiB, however small. Choose a smaller base model, "
        "or a worker with more memory."
    )


def _smaller(plan: Plan, gpus: int, cut_offs: tuple[int, ...]) -> Iterator[Plan]:
    share = plan.batch_size // gpus
    passes = [each for each in range(plan.accumulation, share + 1) if share % each == 0]
    for length in cut_offs:
        for checkpointing in sorted({plan.gradient_checkpointing, True}):
            for each in passes:
                yield replace(plan, accumulation=each, gradient_checkpointing=checkpointing, max_length=length)


def _cut_offs(plan: Plan) -> tuple[int, ...]:
    halves = (plan.max_length >> times for times in range(1, plan.max_length.bit_length()))
    return (plan.max_length, *(each for each in halves if each >= SHORTEST))


def _needs(plan: Plan, shapes: Shapes, job: Job) -> int:
    training = Training(
        batch=plan.rows_at_once(job.gpus),
        length=plan.max_length,
        quantization=plan.quantization,
        checkpointing=plan.gradient_checkpointing,
        dropout=plan.dropout,
    )
    return estimate(shapes, job.parameters, plan.setting.r, training, plan.target_modules).total


def _room(s: Session, job: Job, failed: int) -> float:
    """What the device had, by the job's own record, or else what the largest of the workers has now."""
    known = [size for size in (job.record.get("device_bytes"), job.peak_bytes) if size]
    largest = max((worker.memory_bytes for worker in workers.alive(s)), default=failed)
    return min(SAFE * min(known, default=largest), LESS * failed)


def _words(before: Plan, after: Plan) -> str:
    changes = []
    if after.accumulation != before.accumulation:
        rows = after.batch_size // after.accumulation
        changes.append(f"each batch of {after.batch_size} is computed in {after.accumulation} passes of {rows}")
    if after.gradient_checkpointing and not before.gradient_checkpointing:
        changes.append("activations are computed again instead of kept")
    if after.max_length != before.max_length:
        changes.append(f"the cut-off is {after.max_length} tokens instead of {before.max_length}")
    return "; ".join(changes)
