"""Datasets: bring a file in, say what its fields mean, see what the model will see, keep it."""

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app.pages.edge import told, wanted_id
from app.pages.frame import navigation
from app.pages.report import detail_html, preview_html
from app.pages.show import Column, ago, empty, heading, link, number, table
from app.services import datasets
from app.services.datasets import PARTS, Preview, Upload
from prolora.dataset import Mapping
from prolora.dataset.forms import Form
from prolora.errors import DatasetError

TITLE, PATH = "Datasets", "datasets"
LEAD = "Questions with their answers, one row each. The model learns to give the answers."
FORMS: list[tuple[str, Form]] = [
    ("Alpaca", "alpaca"),
    ("Chat messages", "messages"),
    ("ShareGPT", "sharegpt"),
    ("Prompt and completion", "prompt-completion"),
]
HELP = """<div class="help"><b>JSON, JSONL, CSV or TSV</b>, in one of four forms; other names can be mapped by hand.
<pre>{"instruction": "…", "input": "…", "output": "…"}
{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}
{"prompt": "…", "completion": "…"}</pre></div>"""
COLUMNS = (
    Column("Name"),
    Column("Form"),
    Column("Rows kept", True),
    Column("Rejected", True),
    Column("Held out", True),
    Column("Used by", True),
    Column("Kept"),
)
MOST_PARTS = 5


def build(page: gr.Blocks) -> None:
    navigation()
    single = gr.HTML(elem_id="dataset", elem_classes="page", visible=False)
    with gr.Column(elem_classes="page") as overview:
        gr.HTML(heading(TITLE, LEAD))
        with gr.Row(equal_height=True):
            upload = gr.File(
                label="Drop a .json, .jsonl, .csv or .tsv file here", elem_id="upload", height=170, scale=3
            )
            with gr.Column(scale=2, elem_classes="beside"):
                gr.HTML(HELP)
                sample = gr.Button("Use the sample dataset", elem_id="use-sample", size="md")
        held = gr.State()
        with gr.Column(visible=False, elem_id="incoming") as incoming:
            with gr.Row():
                name = gr.Textbox(label="Name", elem_id="dataset-name", max_length=120, scale=2)
                form = gr.Dropdown(FORMS, label="Form", elem_id="dataset-form", scale=2)
                parts = [
                    gr.Dropdown(label=f"Part {i}", elem_id=f"dataset-part-{i}", scale=2)
                    for i in range(1, MOST_PARTS + 1)
                ]
            with gr.Row(elem_classes="actions"):
                keep = gr.Button("Keep this dataset", variant="primary", elem_id="keep", scale=0)
                leave = gr.Button("Leave it", elem_id="discard", scale=0)
            report = gr.HTML(elem_id="report")
        done = gr.HTML(elem_id="kept")
        rows = gr.HTML(elem_id="datasets")
    shown = [held, incoming, name, form, *parts, report, done]
    upload.upload(receive, [upload, held], [upload, *shown])
    sample.click(use_sample, [held], shown)
    form.input(change_form, [held, form], [*parts, report])
    for part in parts:
        part.input(map_fields, [held, form, *parts], [report])
    keep.click(keep_it, [held, name, form, *parts], [held, incoming, done, rows])
    leave.click(leave_it, [held], [held, incoming])
    page.load(show, None, [single, overview, rows])


@told
def show(request: gr.Request) -> tuple[Any, Any, str]:
    wanted = wanted_id(request)
    if wanted is None:
        return gr.HTML(visible=False), gr.Column(visible=True), listing()
    return gr.HTML(detail_html(datasets.detail(wanted)), visible=True), gr.Column(visible=False), ""


def listing() -> str:
    lines = datasets.listing()
    if not lines:
        return empty("No dataset yet", "Drop a file above, or take the sample dataset to look around.")
    return table(COLUMNS, (_row(line) for line in lines), ident="datasets-table")


def _row(line: datasets.Line) -> tuple[str, ...]:
    jobs = f"{line.jobs} job{'' if line.jobs == 1 else 's'}"
    return (
        link(f"/datasets?id={line.id}", line.name),
        escape(line.form),
        number(line.kept),
        number(line.rejected),
        number(line.held_out),
        jobs,
        ago(line.created_at),
    )


@told
def receive(path: str | None, held: Upload | None) -> list[Any]:
    """Gradio's own copy is left to its cleaning; ours is private."""
    if path is None:
        return [gr.skip()] * (MOST_PARTS + 6)
    return [gr.File(value=None), *_arrived(datasets.receive(Path(path), Path(path).name), held)]


@told
def use_sample(held: Upload | None) -> list[Any]:
    return _arrived(datasets.sample(), held)


def _arrived(upload: Upload, held: Upload | None) -> list[Any]:
    """What was held before and never kept gives way."""
    try:
        preview = datasets.preview(upload)
    except BaseException:
        datasets.discard(upload)
        raise
    if held is not None:
        datasets.discard(held)
    form: Form = preview.mapping.form if preview.mapping else "alpaca"
    return [
        upload,
        gr.Column(visible=True),
        Path(upload.name).stem,
        form,
        *_dropdowns(form, preview),
        preview_html(preview),
        "",
    ]


def _dropdowns(form: Form, preview: Preview) -> list[Any]:
    """One for each part of the form, filled with the file's own fields."""
    fields = preview.mapping.fields if preview.mapping and preview.mapping.form == form else {}
    choices = [("not used", ""), *((f"{name} ({number(count)})", name) for name, count in preview.columns)]
    parts = PARTS[form]
    made = [gr.Dropdown(choices, value=fields.get(part, ""), label=part.capitalize(), visible=True) for part in parts]
    return [*made, *[gr.Dropdown(choices, value="", visible=False)] * (MOST_PARTS - len(parts))]


@told
def change_form(upload: Upload, form: Form) -> list[Any]:
    preview = datasets.preview(upload)
    mapped = preview.mapping is not None and preview.mapping.form == form
    words = preview_html(preview) if mapped else '<p class="problem">Say above which field of the file is which.</p>'
    return [*_dropdowns(form, preview), words]


def map_fields(upload: Upload, form: Form, *parts: str) -> str:
    """Not a toast: while fields are being chosen it is natural that one is missing."""
    try:
        return preview_html(datasets.preview(upload, _mapping(form, parts)))
    except DatasetError as error:
        return f'<p class="problem">{escape(str(error))}</p>'


def _mapping(form: Form, parts: tuple[str, ...]) -> Mapping:
    return Mapping(form, dict(zip(PARTS[form], (part or "" for part in parts), strict=False)))


@told
def keep_it(upload: Upload, name: str, form: Form, *parts: str) -> list[Any]:
    kept = datasets.keep(upload, name, _mapping(form, parts))
    words = "is kept." if kept.new else "was kept before: its rows are the same, so nothing was added."
    address = f"/datasets?id={kept.id}"
    done = (
        f'<div class="done" data-id="{kept.id}"><p>{link(address, "The dataset")} {words}</p>'
        f"{link(f'/wizard?dataset={kept.id}', 'Make an adapter from it', 'button')}</div>"
    )
    return [None, gr.Column(visible=False), done, listing()]


def leave_it(upload: Upload) -> list[Any]:
    datasets.discard(upload)
    return [None, gr.Column(visible=False)]
