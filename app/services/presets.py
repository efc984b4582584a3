"""The runs of a table of the paper, started as one batch on a dataset of the person's choice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from app.services import workers
from app.services.batches import MOST_JOBS
from app.services.estimate import history
from app.services.estimate.pace import pace
from app.services.jobs import refusals
from app.services.jobs.starting import ring
from db import jobs as rows
from db.models import OWNER, Batch, Job
from db.session import session
from prolora.base_models import BaseModel, trainable
from prolora.errors import PlanError
from prolora.methods import count, title
from prolora.plan import Plan
from prolora.presets import RECIPES, TASKS, TRAINING, Recipe, Task, Wanted, plans

T = TypeVar("T", Recipe, Task)


@dataclass(frozen=True)
class Preset:
    """What the form asks, in this order."""

    recipe: str
    task: str
    dataset: int | None
    base: str
    steps: int
    seeds: Sequence[int]


@dataclass(frozen=True)
class Outlook:
    """What a preset would start."""

    wanted: Wanted
    jobs: int
    hours: float | None  # of one worker's device, which `device` names; None where no worker is known
    device: str


def recipe(name: str) -> Recipe:
    return _of(RECIPES, name)


def tasks(recipe_name: str) -> tuple[Task, ...]:
    return tuple(task for task in TASKS if task.name in recipe(recipe_name).tasks)


def outlook(preset: Preset) -> Outlook:
    """Raises for what could not be started."""
    wanted, base, made = _planned(preset)
    devices = [each for each in workers.listing() if each.memory_bytes > 0]
    if not devices:
        return Outlook(wanted, len(made), None, "")
    device = devices[0].device
    tokens = history.rows_of(int(preset.dataset or 0), base.name, made[0].max_length).tokens
    speeds = history.past().speeds
    seconds = sum(
        tokens * plan.epochs / pace(plan, base.shapes.base_parameters, device, 1, speeds).tokens_per_second
        for plan in made
    )
    return Outlook(wanted, len(made), seconds / 3600, device)


def start(preset: Preset) -> tuple[int, list[int]]:
    """Queue all runs, or none; the batch's number and those of its jobs."""
    wanted, base, made = _planned(preset)
    refusals.teaches_nothing(int(preset.dataset or 0), made[0])
    batch = Batch(owner_id=OWNER, name=f"{wanted.recipe.title}: {wanted.task.title}"[:120], grid=_grid(wanted, made))
    with session() as s:
        dataset = refusals.dataset_of(s, preset.dataset)
        for plan in made:
            refusals.refuse(s, plan, base.shapes, 1)
        s.add(batch)
        s.flush()
        ids = [rows.submit(s, _job(plan, base, batch.id, dataset.id)) for plan in made]
    ring(ids)
    return batch.id, ids


def _planned(preset: Preset) -> tuple[Wanted, BaseModel, list[Plan]]:
    if preset.dataset is None:
        raise PlanError("Choose a dataset first: there is nothing to train on.")
    base = trainable(preset.base)
    trained = history.rows_of(preset.dataset, base.name, TRAINING["max_length"].value).trained
    chosen, task = recipe(preset.recipe), _of(TASKS, preset.task)
    wanted = Wanted(chosen, task, trained, base.name, int(preset.steps or 0), tuple(preset.seeds or ()))
    made = list(plans(wanted))
    if len(made) > MOST_JOBS:
        raise PlanError(f"That would be {len(made)} jobs; a batch holds at most {MOST_JOBS}. Leave some seeds out.")
    return wanted, base, made


def _job(plan: Plan, base: BaseModel, batch_id: int, dataset_id: int) -> Job:
    return Job(
        owner_id=OWNER,
        dataset_id=dataset_id,
        name=f"{title(plan.method)} {plan.setting}, {plan.learning_rate:g}, seed {plan.seed}",
        plan=plan.to_json(),
        parameters=count(plan.method, plan.setting, base.shapes, plan.target_modules),
        batch_id=batch_id,
    )


def _grid(wanted: Wanted, made: Sequence[Plan]) -> dict[str, object]:
    return {
        "recipe": wanted.recipe.name,
        "task": wanted.task.name,
        "methods": list(dict.fromkeys(plan.method for plan in made)),
        "learning_rates": list(dict.fromkeys(plan.learning_rate for plan in made)),
        "seeds": list(wanted.seeds),
    }


def _of(known: Sequence[T], name: str) -> T:
    for each in known:
        if each.name == name:
            return each
    raise PlanError(f"There is no recipe called “{name}”. Choose {', '.join(each.name for each in known)}.")
