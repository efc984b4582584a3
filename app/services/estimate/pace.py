"""How long a run trains: tokens through the base, over the tokens a second of finished runs that are most like it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from prolora.plan import Plan

SPEED_VARIES = 1.2  # between two runs alike
OTHER_METHOD, BY_RULE = 2.0, 4.0  # how far off a speed may be that another method, or none on this base, has shown
# Multiplications and additions a second in bfloat16 by the makers' data sheets, without sparsity; the first name that
# a card's own contains. A CPU's is that of bench/results/step.json.
CARDS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10": 125e12,
    "4090": 165e12,
    "3090": 71e12,
    "T4": 65e12,
}
OTHER_CARD = 60e12
USED = 0.25  # of a card, by a batch of usual size on a base in NF4
CPU_FLOPS = 2.8e11  # reached, not possible


@dataclass(frozen=True)
class Speed:
    """What a finished run has shown."""

    base_model: str
    parameters: int  # of the base
    plan: Plan
    device: str
    gpus: int
    tokens_per_second: float

    @property
    def flops(self) -> float:
        """A second, of one device."""
        return self.tokens_per_second / self.gpus * flops_a_token(self.plan, self.parameters)


@dataclass(frozen=True)
class Pace:
    tokens_per_second: float
    off: float  # the true one may be so many times smaller or larger
    runs: int  # that it rests on
    why: str


def flops_a_token(plan: Plan, parameters: int) -> float:
    """Two a weight forward and two backward, since a frozen weight has no gradient; two more when computed again."""
    return (6.0 if plan.gradient_checkpointing else 4.0) * parameters


def pace(plan: Plan, parameters: int, device: str, gpus: int, known: Sequence[Speed]) -> Pace:
    """From the runs that are most like this one; from a rule of thumb where there is none on such a device."""
    here = [speed for speed in known if speed.device == device]
    same_base = [
        speed for speed in here if (speed.base_model, speed.plan.quantization) == (plan.base_model, plan.quantization)
    ]
    same = [speed for speed in same_base if speed.plan.method == plan.method]
    work = flops_a_token(plan, parameters) / gpus
    if same:
        return _from(same, work, SPEED_VARIES, "of this method on this base and device")
    if same_base:
        return _from(same_base, work, OTHER_METHOD, "of other methods on this base and device")
    if here:
        return _from(here, work, BY_RULE, "on other bases, scaled by their size")
    return Pace(flops_of(device) / work, BY_RULE, 0, "a rule of thumb, as nothing has run on such a device yet")


def flops_of(device: str) -> float:
    """A second, by rule of thumb."""
    if device == "cpu":
        return CPU_FLOPS
    return USED * next((flops for name, flops in CARDS.items() if name in device), OTHER_CARD)


def _from(speeds: Sequence[Speed], work: float, off: float, of_what: str) -> Pace:
    found = [speed.flops for speed in speeds]
    middle = median(found)
    spread = max(max(found) / middle, middle / min(found))
    runs = "1 finished run" if len(found) == 1 else f"{len(found)} finished runs"
    return Pace(middle / work, max(off, spread), len(found), f"{runs} {of_what}")
