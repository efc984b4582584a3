"""How like one run is to another: in what it starts from, and in what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prolora.base_models import BaseModel
from prolora.dataset import read_rows
from prolora.dataset.records import hash_of
from prolora.devices import cards, devices
from prolora.runfile import RanOn, Results, RunFile
from worker import record

TOLERANCE = 1e-5  # of a loss or a score
UNKNOWN = "the record does not say"


@dataclass(frozen=True)
class Gap:
    """The largest difference, and where it is; infinite where one side has no value."""

    size: float
    where: str
    compared: int

    @property
    def words(self) -> str:
        return f"{self.compared} compared, largest difference {self.size:.3g} ({self.where})"


@dataclass(frozen=True)
class Likeness:
    losses: Gap
    scores: Gap | None  # those of a run that was stopped early say nothing

    @property
    def same(self) -> bool:
        return all(gap.compared and gap.size <= TOLERANCE for gap in (self.losses, self.scores) if gap)


def obstacles(run: RunFile, rows: Path, base: BaseModel, folder: Path) -> list[str]:
    """Sentences on what here differs from what the run was made of; its own losses would then differ too."""
    found = [] if hash_of(read_rows(rows)) == run.dataset.content_hash else [f"The rows in {rows} were changed."]
    before, here = (
        run.ran_on,
        RanOn(
            code=record.code(),
            versions=record.versions(),
            device=devices()[0].name,
            base_revision=record.revision(base, folder),
        ),
    )
    pairs = {
        f"The base model {base.name}": (before.base_revision, here.base_revision),
        "The studio's code": (before.code, here.code),
        "The device": (before.device, here.device),
        **{name: (before.versions.get(name, ""), version) for name, version in here.versions.items()},
    }
    found += [f"{what} is {now} here; it was {was or UNKNOWN}." for what, (was, now) in pairs.items() if was != now]
    if run.gpus > max(len(cards()), 1):
        found.append(f"The run used {run.gpus} devices at once; here are {len(cards())} cards.")
    return found if run.results.losses else [*found, "The run left no losses to compare with."]


def compare(before: Results, after: Results) -> Likeness:
    """Only the losses of steps that both have, where the first run did not come to its end."""
    whole = before.step == before.total_steps
    steps = {str(step): value for step, value in before.losses.items() if whole or step in after.losses}
    losses = gap(steps, {str(step): value for step, value in after.losses.items()}, "step ")
    return Likeness(losses, gap(before.scores, after.scores) if whole else None)


def gap(before: Mapping[str, float], after: Mapping[str, float], prefix: str = "") -> Gap:
    sizes = {name: abs(value - after[name]) if name in after else float("inf") for name, value in before.items()}
    worst = max(sizes, key=lambda name: sizes[name], default="")
    return Gap(sizes.get(worst, 0.0), f"{prefix}{worst}", len(sizes))
