"""What a run writes: checkpoints while it trains; the adapter and the predictions of its held-out rows to stay."""

from dataclasses import dataclass

from prolora.budget import DTYPE_BYTES
from prolora.plan import Plan

CHECKPOINTS = 3  # two are kept, and a third is written before the older one goes
NUMBERS = 3  # a parameter and AdamW's two moments
SUBJECTS = 2  # whose predictions are kept: the adapter and the base
FLOAT32 = DTYPE_BYTES["float32"]


@dataclass(frozen=True)
class Space:
    """Bytes."""

    checkpoints: int  # gone when the run has ended
    adapter: int
    predictions: int
    base: int = 0  # to be fetched from the hub

    @property
    def kept(self) -> int:
        return self.adapter + self.predictions + self.base

    @property
    def most(self) -> int:
        return self.checkpoints + self.kept


def space(plan: Plan, parameters: int, held_out_bytes: int, base: int = 0) -> Space:
    numbers = NUMBERS + (plan.validation_share > 0)  # the best weights so far lie beside the last ones
    return Space(
        checkpoints=(CHECKPOINTS * numbers + 1) * FLOAT32 * parameters,  # and the adapter before it is put in its place
        adapter=FLOAT32 * parameters,
        predictions=SUBJECTS * held_out_bytes,
        base=base,
    )
