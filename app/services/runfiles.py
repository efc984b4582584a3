"""A run as a file: exported from a job, and imported into the wizard's form."""

from dataclasses import dataclass

from app.services.datasets import find_content, find_source
from app.services.jobs.choice import Choice, choice_like
from app.services.jobs.lines import JobError, job_of_mine
from db import runs
from db.session import session
from prolora import runfile
from prolora.base_models import trainable
from prolora.errors import BaseModelError
from prolora.runfile import Data


@dataclass(frozen=True)
class Imported:
    """What the form is filled with, and what the person has to know of it."""

    choice: Choice
    notes: tuple[str, ...]


def export(job_id: int) -> str:
    """The job's run as YAML."""
    with session() as s:
        job = job_of_mine(s, job_id)
        if job.kind != "train":
            raise JobError(f"Job {job_id} trains nothing, so there is no run to export.")
        return runfile.write(runs.facts(s, job))


def bring(content: bytes) -> Imported:
    """Raises for what is no run; a dataset or a base that is not here is only told."""
    run = runfile.read(content)
    dataset_id = find_content(run.dataset.content_hash)
    notes = [] if dataset_id else [_missing(run.dataset)]
    try:
        trainable(run.plan.base_model)
    except BaseModelError as error:
        notes.append(f"{error} Until then no run can be started.")
    return Imported(choice_like(run, dataset_id), tuple(notes))


def _missing(data: Data) -> str:
    """The same file may be here, kept with other choices: then the rows are others."""
    other = find_source(data.source_hash) if data.source_hash else None
    hint = f" The same file was kept as dataset {other}, read otherwise." if other else ""
    return f"Its dataset “{data.name}” is not here: no kept dataset has the same rows. {data.origin}{hint}"
