"""What the wizard's form is filled with: by its address, by a job that is copied, or by the file of a run."""

import dataclasses
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app.pages import budget as heart
from app.pages.edge import told, wanted_number
from app.pages.joblines import address
from app.pages.show import link, number
from app.services import datasets, jobs, planning, runfiles
from prolora.errors import StudioError
from prolora.runfile import LARGEST

FIRST_BUDGET = "rank 8"


def build() -> gr.UploadButton:
    """What takes the file of a run."""
    with gr.Row(elem_classes="actions"):
        return gr.UploadButton(
            "Import a run", file_types=[".yaml", ".yml"], elem_id="import-run", variant="secondary", size="sm", scale=0
        )


@told
def enter(request: gr.Request) -> list[Any]:
    """Datasets may have come since the page was built; ?dataset= chooses one, ?job= copies a job."""
    return _filled(*_asked(request))


@told
def bring(path: str) -> list[Any]:
    with Path(path).open("rb") as file:
        run = runfiles.bring(file.read(LARGEST + 1))
    told_of = "".join(f'<p class="problem">{escape(note)}</p>' for note in run.notes)
    words = f"These are the settings of “{escape(run.choice.name)}”. Change what you like."
    return _filled(run.choice, f'<p class="copied">{words}</p>{told_of}')


def about(name: str) -> str:
    try:
        base = planning.base(name)
    except StudioError as error:
        return heart.problem(str(error))
    words = f"<b>{escape(base.title)}</b>, {number(base.parameters)} parameters. {escape(base.note)}"
    return f'<p class="note">{words}</p>'


def _filled(choice: jobs.Choice, words: str) -> list[Any]:
    """A value for each field, what is said of the base and of the choice, and the step to go to."""
    choices = [(f"{line.name} ({number(line.kept)} rows)", line.id) for line in datasets.listing()]
    waiting = [("nothing", 0), *((f"{line.name}, job {line.id}", line.id) for line in jobs.unfinished())]
    values = {field.name: getattr(choice, field.name) for field in dataclasses.fields(choice)}
    shown = {
        "dataset": gr.Dropdown(choices, value=choice.dataset),
        "after": gr.Dropdown(waiting, value=0),
        "peers": list(choice.peers),  # Gradio takes a tuple for one value
    }
    whole = choice.dataset is not None and (choice.origin or choice.like)
    step = gr.Walkthrough(selected=3 if whole else 0) if words else gr.skip()
    return [*(values | shown).values(), about(choice.base), words, step]


def _asked(request: gr.Request) -> tuple[jobs.Choice, str]:
    """What the address asks for, and a sentence on a copy."""
    origin, dataset = wanted_number(request, "job"), wanted_number(request, "dataset")
    if origin is None:
        ids = [line.id for line in datasets.listing()]
        chosen = dataset if dataset in ids else next(iter(ids), None)
        return jobs.fresh(chosen, "demo", FIRST_BUDGET), ""
    choice, changed = jobs.fitted_choice(origin) if "fit" in request.query_params else (jobs.choice_of(origin), "")
    which = f"These are the settings of {link(address(origin), f'job {origin}')}"
    words = (
        f"{which}, made smaller so that they fit: {escape(changed)}." if changed else f"{which}. Change what you like."
    )
    return choice, f'<p class="copied">{words}</p>'
