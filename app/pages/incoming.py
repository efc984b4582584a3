"""The panel of a file on its way in: how far its reading is, what it was read as, and what can be said about it."""

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from app.pages.edge import told
from app.pages.report import preview_html, repair_label
from app.pages.show import bar, megabytes, number, percent
from app.services import uploads
from app.services.datasets import PARTS
from app.services.readers import FAILED, FETCHING, READING, UNDER_WAY
from app.services.uploads import Preview, Progress, Upload
from prolora.dataset import Choices, Mapping
from prolora.dataset.encodings import ENCODINGS
from prolora.dataset.forms import Form
from prolora.errors import DatasetError

FORMS: list[tuple[str, Form]] = [
    ("Alpaca", "alpaca"),
    ("Chat messages", "messages"),
    ("ShareGPT", "sharegpt"),
    ("Prompt and completion", "prompt-completion"),
    ("Plain text", "text"),
]
MOST_PARTS = max(map(len, PARTS.values()))
EVERY = 0.4  # seconds between two looks at a reading


@dataclass(frozen=True)
class Panel:
    """What the rest of the page needs of it: `entering` shows the upload that `held` names."""

    held: gr.State
    name: gr.Textbox
    keep: gr.Button
    entering: tuple[Any, list[Any], list[Any]]


def build() -> Panel:
    held, timer = gr.State(), gr.Timer(EVERY, active=False)
    with gr.Column(visible=False, elem_id="incoming") as column:
        reading = gr.HTML(elem_id="reading")
        with gr.Column(visible=False) as asked:
            with gr.Row():
                name = gr.Textbox(label="Name", elem_id="dataset-name", max_length=120, scale=2)
                form = gr.Dropdown(FORMS, label="Form", elem_id="dataset-form", scale=2)
                encoding = gr.Dropdown(label="Encoding", elem_id="dataset-encoding", scale=2)
            with gr.Row():
                parts = [
                    gr.Dropdown(label=f"Part {i}", elem_id=f"dataset-part-{i}", scale=2)
                    for i in range(1, MOST_PARTS + 1)
                ]
            repairs = gr.CheckboxGroup(label="Repairs", elem_id="dataset-repairs", visible=False)
        with gr.Row(elem_classes="actions"):
            keep = gr.Button("Keep this dataset", variant="primary", elem_id="keep", scale=0, visible=False)
            leave = gr.Button("Leave it", elem_id="discard", scale=0)
        report = gr.HTML(elem_id="report")
    shown = [column, reading, asked, name, form, encoding, *parts, repairs, keep, leave, report, timer]
    timer.tick(look, [held, name], shown, show_progress="hidden")
    chosen = [held, form, encoding, repairs, *parts]
    form.input(change_form, [held, form], [*parts, report])
    for change in (encoding.input, repairs.input, *(part.input for part in parts)):
        change(read_anew, chosen, [reading, timer], show_progress="hidden")
    leave.click(leave_it, [held], [held]).then(look, [held, name], shown, show_progress="hidden")
    return Panel(held, name, keep, (enter, [held], shown))


def enter(upload: Upload | None) -> list[Any]:
    """The upload that has come, with nothing left of the one before it."""
    updates = look(upload, "")
    if updates[2] == gr.skip():
        updates[2], updates[3], updates[-2] = gr.Column(visible=False), "", ""
    return updates


@told
def look(upload: Upload | None, name: str) -> list[Any]:
    """Everything of the panel, as SQL says it is; a name that stands there already stays."""
    if upload is None:
        return [gr.Column(visible=False), *[gr.skip()] * (MOST_PARTS + 9), gr.Timer(active=False)]
    try:
        progress = uploads.progress(upload)
    except DatasetError as error:  # left in another window; raised, it would be told anew by every tick
        return _failed(str(error), gr.Column(visible=False))
    if progress.state not in UNDER_WAY:
        return _ended(upload, progress, name)
    skipped = [gr.skip()] * (MOST_PARTS + 5)
    words, buttons = reading_html(upload, progress), (gr.Button(visible=False), gr.Button("Cancel"))
    return [gr.Column(visible=True), words, *skipped, *buttons, gr.skip(), gr.Timer(active=True)]


def _ended(upload: Upload, progress: Progress, name: str) -> list[Any]:
    if progress.state == FAILED:
        return _failed(progress.error or "", gr.skip())
    visible, off = gr.Column(visible=True), gr.Timer(active=False)
    preview = uploads.preview(upload)
    form: Form = preview.mapping.form if preview.mapping else "alpaca"
    controls = [
        gr.skip() if name.strip() else preview.upload.name.split(".")[0],
        form,
        _encodings(preview),
        *_dropdowns(form, preview),
        _repairs(preview),
    ]
    keepable = bool(preview.report["kept"]) and not preview.unconfirmed
    buttons = (gr.Button(visible=keepable), gr.Button("Leave it"))
    return [visible, "", gr.Column(visible=True), *controls, *buttons, preview_html(preview), off]


def _failed(sentence: str, asked: Any) -> list[Any]:
    """Where what was asked is still there, another choice can be made: it may be the last one that failed."""
    problem = f'<p class="problem">{escape(sentence)}</p>'
    skipped = [gr.skip()] * (MOST_PARTS + 4)
    buttons = (gr.Button(visible=False), gr.Button("Leave it"))
    return [gr.Column(visible=True), problem, asked, *skipped, *buttons, "", gr.Timer(active=False)]


def reading_html(upload: Upload, progress: Progress) -> str:
    if progress.state == FETCHING:
        share = f"{percent(progress.done)} of {megabytes(progress.size)} so far" if progress.size else "asking the hub"
        words = f"Fetching {upload.name}: {share}."
    else:
        words = f"Reading {upload.name}: {percent(progress.done)}, {number(progress.rows)} rows so far."
    return f'<div class="live">{bar(progress.done, words)}<div class="row"><span>{escape(words)}</span></div></div>'


def _encodings(preview: Preview) -> Any:
    """What was found out, with the others to choose from."""
    found = preview.report["encoding"]
    value = None if preview.unconfirmed else found or None
    return gr.Dropdown([(words, name) for name, words in ENCODINGS.items()], value=value, visible=bool(found))


def _repairs(preview: Preview) -> Any:
    """Those that would mend something, and those that did."""
    report = preview.report
    counts = (
        report["offered"]
        | report["repaired"]
        | {code: report["repaired"].get(code, 0) for code in preview.choices.repairs}
    )
    choices = [(repair_label(code, rows), code) for code, rows in sorted(counts.items())]
    return gr.CheckboxGroup(choices, value=sorted(preview.choices.repairs), visible=bool(choices))


def _dropdowns(form: Form, preview: Preview) -> list[Any]:
    """One for each part of the form, filled with the file's own fields."""
    fields = preview.mapping.fields if preview.mapping and preview.mapping.form == form else {}
    columns = preview.report["columns"].items()
    choices = [("not used", ""), *((f"{name} ({number(count)})", name) for name, count in columns)]
    parts = PARTS[form]
    made = [gr.Dropdown(choices, value=fields.get(part, ""), label=part.capitalize(), visible=True) for part in parts]
    return [*made, *[gr.Dropdown(choices, value="", visible=False)] * (MOST_PARTS - len(parts))]


@told
def change_form(upload: Upload, form: Form) -> list[Any]:
    preview = uploads.preview(upload)
    mapped = preview.mapping is not None and preview.mapping.form == form
    words = preview_html(preview) if mapped else '<p class="problem">Say above which field of the file is which.</p>'
    return [*_dropdowns(form, preview), words]


@told
def read_anew(upload: Upload, form: Form, encoding: str | None, repairs: list[str], *parts: str) -> tuple[str, Any]:
    """Not a toast: while fields are being chosen it is natural that one is missing."""
    try:
        mapping = Mapping(form, dict(zip(PARTS[form], (part or "" for part in parts), strict=False)))
    except DatasetError as error:
        return f'<p class="problem">{escape(str(error))}</p>', gr.skip()
    uploads.begin(upload, Choices(mapping, uploads.overruled(upload, encoding), frozenset(repairs)))
    return reading_html(upload, Progress(READING, 0.0, 0, None)), gr.Timer(active=True)


def leave_it(upload: Upload | None) -> None:
    if upload is not None:
        uploads.discard(upload)
