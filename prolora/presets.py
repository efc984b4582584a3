"""The runs behind the paper's tables, as data with the place of each number in the paper. No torch.

The learning rates of VeRA and Tied LoRA were searched and are not printed, so their rows are the search itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prolora.errors import PlanError
from prolora.plan import PROJECTIONS, TIED, MethodName, Plan, Setting

BUDGET = "the rank by Table 2; u, m and n are not printed and keep its parameter count"


@dataclass(frozen=True)
class Sourced:
    """A value, and where the paper says it."""

    value: Any
    source: str


@dataclass(frozen=True)
class Row:
    """A setting of a table."""

    method: MethodName
    setting: Setting
    source: str


@dataclass(frozen=True)
class Task:
    """Data that is trained on, what is measured then, and the learning rate that LoRA of rank 64 did best with."""

    name: str
    data: str
    benchmarks: tuple[str, ...]
    learning_rate: Sourced

    @property
    def title(self) -> str:
        return f"{self.data} for {' and '.join(self.benchmarks)}"


@dataclass(frozen=True)
class Recipe:
    """Rows of a table on one base; without `rates` each task's own learning rate is used."""

    name: str
    title: str
    base_model: str
    rows: tuple[Row, ...]
    tasks: tuple[str, ...]
    rates: Sourced | None = None


@dataclass(frozen=True)
class Wanted:
    """A recipe's runs on one task; `training_rows` makes epochs of the steps that the paper counts in."""

    recipe: Recipe
    task: Task
    training_rows: int
    base_model: str
    steps: int
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.task.name not in self.recipe.tasks:
            raise PlanError(f"{self.recipe.title} has no runs on {self.task.data}. Choose another of its data.")
        if self.training_rows < 1:
            raise PlanError("The dataset has no row to train on. Choose another.")
        if self.steps < 1:
            raise PlanError(f"A run takes at least one step, not {self.steps}.")
        if not self.seeds:
            raise PlanError("A recipe needs at least one seed, such as 1.")


# What all runs have in common, by the names of prolora.plan.Plan.
TRAINING = {
    "quantization": Sourced("nf4", "Appendix A.2, Finetuning Setup: 4-bit NormalFloat, as QLoRA"),
    "alpha": Sourced(16.0, "Appendix A.2, Finetuning Setup"),
    "dropout": Sourced(0.1, "Appendix A.2, Finetuning Setup"),
    "batch_size": Sourced(16, "Appendix A.2, Finetuning Setup"),
    "max_length": Sourced(512, "Appendix A.2, Finetuning Setup"),
    "group_by_length": Sourced(True, "Appendix A.2, Finetuning Setup"),
}
STEPS = Sourced(10_000, "Appendix A.2, Finetuning Setup")
SEEDS = Sourced((1, 2, 3), "Appendix A.2")
RATES = Sourced((1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3), "Appendix A.2, searched with LoRA of rank 64")
MORE_RATES = Sourced(
    (*RATES.value, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2), "Appendix A.2, the extended range of VeRA and Tied LoRA"
)
USUAL = Sourced(2e-4, "Appendix A.2, Finetuning Setup: best on all benchmarks but HumanEval")
CODE = Sourced(5e-5, "Appendix A.2, Finetuning Setup: best on HumanEval")

TASKS = (
    Task("superni", "Super-NaturalInstructions", ("MMLU", "TyDi QA"), USUAL),
    Task("flan", "Flan V2", ("BBH",), USUAL),
    Task("cot", "the CoT split of Flan V2", ("GSM8K",), USUAL),
    Task("codealpaca", "CodeAlpaca", ("HumanEval",), CODE),
)

LORA_2, LORA_64 = Row("lora", Setting.lora(2), "Table 2"), Row("lora", Setting.lora(64), RATES.source)
SMALL = (
    Row("prolora", Setting(4, 1, 3, 3), BUDGET),
    Row("prolora", Setting(8, 1, 7, 7), "Section 4.2: rank, unshared rank and rates"),
)
OF_16, OF_32 = Setting(16, 4, 3, 3), Setting(32, 4, 7, 7)
SHARED: tuple[MethodName, ...] = ("clora", "rolora")
PARTLY: tuple[MethodName, ...] = ("prolora", "prolora-unrotated", "prolora-unrectified")
TABLE_2 = (
    LORA_2,
    Row("lora", Setting.lora(8), "Table 2"),
    Row("lora", Setting.lora(16), "Table 2"),
    *(Row(method, setting, BUDGET) for method in SHARED for setting in (Setting(16, 0, 2, 2), Setting(32, 0, 4, 4))),
    *SMALL,
    *(Row(method, setting, BUDGET) for method in PARTLY for setting in (OF_16, OF_32)),
)
SEARCHED = (
    Row("vera", Setting.lora(256), "Table 2"),
    Row("tied-lora", Setting.lora(256), "Table 2"),
    Row("tied-lora", Setting.lora(280), "Table 2"),
)
ALL = tuple(task.name for task in TASKS)
RECIPES = (
    Recipe("table-2", "Table 2", "llama-2-7b", TABLE_2, ALL),
    Recipe("table-2-searched", "Table 2, VeRA and Tied LoRA", "llama-2-7b", SEARCHED, ALL, MORE_RATES),
    Recipe("table-3", "Table 3", "llama-2-13b", (LORA_2, *SMALL), ("superni", "flan", "cot")),
    Recipe("search", "Search of the learning rate", "llama-2-7b", (LORA_64,), ALL, RATES),
)


def plans(wanted: Wanted) -> Iterator[Plan]:
    """A plan for each row, rate and seed."""
    common = {name: each.value for name, each in TRAINING.items()}
    epochs = epochs_of(wanted.steps, wanted.training_rows, TRAINING["batch_size"].value)
    rates: Sequence[float] = (wanted.recipe.rates or Sourced((wanted.task.learning_rate.value,), "")).value
    for row in wanted.recipe.rows:
        targets = TIED if row.method == "tied-lora" else PROJECTIONS
        for rate in rates:
            for seed in wanted.seeds:
                yield Plan(
                    method=row.method,
                    setting=row.setting,
                    base_model=wanted.base_model,
                    learning_rate=rate,
                    epochs=epochs,
                    seed=seed,
                    target_modules=targets,
                    **common,
                )


def epochs_of(steps: int, rows: int, batch_size: int) -> float:
    """So many that the trainer, which rounds up to whole steps, makes exactly `steps`."""
    return (steps - 0.25) / -(-rows // batch_size)
