"""Changes to a plan that make it fit: those that leave its result as it is come first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from app.services.estimate.memory import ROOMY, SET_ASIDE, formula, kind_of
from prolora.base_models import find
from prolora.plan import Plan

SHORTEST, STRIDE = 64, 64  # tokens of a cut-off that is offered
OFFERED = 3
Bytes = Callable[[Plan], int]


@dataclass(frozen=True)
class Fitting:
    """A plan that fits, what it takes by the estimate, and how it differs in words."""

    plan: Plan
    total_bytes: int
    words: str


def settings_that_fit(
    plan: Plan, memory_bytes: int, peak: int | None, device: str = "cuda", gpus: int = 1
) -> tuple[Fitting, ...]:
    """For the clone button of a job that ran out of memory: plans that fit where `plan` did not, the best first.

    `memory_bytes` is that of the device it ran on and `device` the device's name, as in the job's record (device_bytes
    and device); `peak` is Job.peak_bytes, or None where the job died before it could say. The failed run is the
    calibration: it needed more than the device had, so the formula is stretched until it says so too, and where the
    run never got the whole device, because others held a part, only what it got counts as room. What does not fit by
    that is never offered. Empty: nothing that can be changed here is enough; a smaller base model is needed.

    The button opens the wizard with the first one's `plan` in its fields, and says its `words`, such as "4 passes a
    batch of 4 rows each".
    """
    shapes, aside = find(plan.base_model).shapes, SET_ASIDE[kind_of(device)]
    failed = formula(plan, shapes, plan.max_length, device, gpus).total
    room = min(memory_bytes - aside, peak or memory_bytes)
    stretch = max(1.0, room / failed)

    def taken(other: Plan) -> int:
        return round(stretch * formula(other, shapes, other.max_length, device, gpus).total)

    return changes(plan, taken, round(ROOMY * room), gpus)


def changes(plan: Plan, taken: Bytes, room: int, gpus: int = 1) -> tuple[Fitting, ...]:
    """The first few changed plans that take no more than there is room for."""
    found: list[Fitting] = []
    for changed in _candidates(plan, taken, room, gpus):
        if all(changed != each.plan for each in found):
            found.append(Fitting(changed, taken(changed), words(plan, changed)))
    return tuple(found[:OFFERED])


def words(plan: Plan, changed: Plan) -> str:
    """How a plan differs from another, as far as fitting may change it."""
    said = []
    if changed.accumulation != plan.accumulation:
        rows = changed.rows_at_once(1)
        said.append(f"{changed.accumulation} passes a batch of {rows} {'row' if rows == 1 else 'rows'} each")
    if changed.gradient_checkpointing != plan.gradient_checkpointing:
        said.append("activations computed twice")
    if changed.quantization != plan.quantization:
        said.append("the base in NF4")
    if changed.max_length != plan.max_length:
        said.append(f"a cut-off of {changed.max_length} tokens")
    return " and ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else "".join(said)


def _candidates(plan: Plan, taken: Bytes, room: int, gpus: int) -> Iterator[Plan]:
    """Smaller passes; layers computed again; both; the base in NF4. Rows are cut shorter only where all that is not
    enough, since that changes the result.
    """
    again = replace(plan, gradient_checkpointing=True)
    packed = replace(again, quantization="nf4")
    starts = (plan, again, replace(plan, quantization="nf4"), packed)
    fitting = [_first(_passes(start, gpus), taken, room) for start in starts]
    if any(fitting):
        yield from (each for each in fitting if each is not None and each != plan)
        return
    smallest = list(_passes(packed, gpus))[-1]
    for start in (plan, smallest):
        shorter = _first(_cut_offs(start), taken, room)
        if shorter is not None:
            yield shorter


def _first(plans: Iterator[Plan], taken: Bytes, room: int) -> Plan | None:
    return next((each for each in plans if taken(each) <= room), None)


def _passes(plan: Plan, gpus: int) -> Iterator[Plan]:
    """The same batch as it is, then in more and more passes."""
    rows = plan.batch_size // gpus
    for passes in range(plan.accumulation, rows + 1):
        if plan.batch_size % (passes * gpus) == 0:
            yield replace(plan, accumulation=passes)


def _cut_offs(plan: Plan) -> Iterator[Plan]:
    longest = (plan.max_length - 1) // STRIDE * STRIDE
    return (replace(plan, max_length=tokens) for tokens in range(longest, SHORTEST - 1, -STRIDE))
