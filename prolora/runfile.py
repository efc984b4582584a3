"""A training run as one YAML document: its plan, its data and base by their hashes, what it ran on, what came out.

A document may come from a stranger: it is read by prolora.plain_yaml.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from prolora import plain_yaml
from prolora.errors import StudioError
from prolora.plain_yaml import Of
from prolora.plan import Plan, Setting

FORM = 1  # of the document; a field that older studios do not know takes the next number
LARGEST = 1 << 18  # bytes: a plan, library versions and thousands of losses
HEAD = "# A run of PRoLoRA Studio, to import in its wizard or to run again by `python -m worker.reproduce FILE`.\n"
LETTERS = {"r": int, "u": int, "m": int, "n": int}
KINDS: dict[Any, Any] = {float: float, int: int, bool: bool, Setting: LETTERS, tuple[str, ...]: [str]}
HUB = {"name": str, "config": str, "split": str, "revision": str}
DOCUMENT = {
    "studio_run": int,
    "name": str,
    "gpus": int,
    "parameters": int,
    "plan": {each.name: KINDS.get(each.type, str) for each in dataclasses.fields(Plan)},
    "dataset": {"name": str, "content_hash": str, "source_name": str, "source_hash": str, "rows": int, "hub": HUB},
    "ran_on": {"code": str, "versions": Of(str, str), "device": str, "devices": int, "base_revision": str},
    "results": {"step": int, "total_steps": int, "losses": Of(int, float), "scores": Of(str, float)},
}
MUST = {
    "": {"studio_run", "name", "plan", "dataset"},
    "plan.": {each.name for each in dataclasses.fields(Plan) if each.default is dataclasses.MISSING},
    "plan.setting.": set(LETTERS),
    "dataset.": {"name", "content_hash"},
    "dataset.hub.": set(HUB),
}


class RunFileError(StudioError):
    """A document that is no run, or one of a newer studio."""


@dataclass(frozen=True)
class Data:
    """What was trained on, as it can be found or fetched elsewhere."""

    name: str
    content_hash: str
    source_name: str = ""
    source_hash: str = ""
    rows: int = 0
    hub: Mapping[str, str] | None = None

    @property
    def origin(self) -> str:
        """Where a person can take it from who has not got it."""
        if self.hub:
            return "Fetch {name} from the hub: config {config}, split {split}, revision {revision}.".format(**self.hub)
        if not self.source_hash:
            return "Bring its file in on the Datasets page."
        name = self.source_name or "the datasets that it was made from"
        return f"Bring in {name} (SHA-256 {self.source_hash}) on the Datasets page, read as it was then."


@dataclass(frozen=True)
class RanOn:
    """Empty for a run that has not begun."""

    code: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    devices: int = 1
    base_revision: str = ""


@dataclass(frozen=True)
class Results:
    step: int = 0
    total_steps: int = 0
    losses: Mapping[int, float] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFile:
    name: str
    plan: Plan
    dataset: Data
    gpus: int = 1
    parameters: int = 0
    ran_on: RanOn = RanOn()
    results: Results = Results()

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Raises RunFileError for what is no run, and PlanError for a plan that cannot be."""
        if not isinstance(data, dict) or type(data.get("studio_run")) is not int:
            raise RunFileError("This is not the file of a run: it has no `studio_run`. Export one from a job's page.")
        if data["studio_run"] > FORM:
            raise RunFileError(
                f"This run was written by a newer studio, in form {data['studio_run']}; this one reads up to form "
                f"{FORM}. Bring this studio up to date."
            )
        checked = plain_yaml.checked(data, DOCUMENT, MUST)
        return cls(
            name=checked["name"],
            plan=_plan(checked["plan"]),
            dataset=Data(**checked["dataset"]),
            gpus=checked.get("gpus", 1),
            parameters=checked.get("parameters", 0),
            ran_on=RanOn(**checked.get("ran_on", {})),
            results=Results(**checked.get("results", {})),
        )


def _plan(checked: dict[str, Any]) -> Plan:
    return Plan.from_json({"target_modules": Plan.target_modules, **checked})


def read_plan(text: str) -> Plan:
    """A plan alone, as JSON; it too may come from a stranger."""
    return _plan(plain_yaml.checked(_loaded(text.encode()), DOCUMENT["plan"], MUST, "plan."))


def write(facts: Mapping[str, Any]) -> str:
    """The document of a run's facts."""
    return HEAD + plain_yaml.dump({"studio_run": FORM, **facts})


def of_facts(facts: Mapping[str, Any]) -> RunFile:
    """As if they had been written and read."""
    return RunFile.from_json({"studio_run": FORM, **facts})


def read(content: bytes) -> RunFile:
    return RunFile.from_json(_loaded(content))


def _loaded(content: bytes) -> Any:
    if len(content) > LARGEST:
        raise RunFileError(f"This file has more than {LARGEST >> 10} KB, which no run needs. Choose a run's own file.")
    try:
        return plain_yaml.load(content.decode())
    except UnicodeDecodeError as error:
        raise RunFileError("This file is no text in UTF-8. Choose the file of a run.") from error
