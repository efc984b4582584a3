"""Datasets: bring a file in, say what its fields mean, see what the model will see, keep it."""

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app.pages import dataset as single
from app.pages import hub, incoming
from app.pages.edge import told, wanted_id
from app.pages.frame import navigation
from app.pages.show import Column, ago, empty, heading, link, number, table
from app.services import datasets, surveys, uploads
from app.services.hub import Choices
from app.services.uploads import Upload

TITLE, PATH = "Datasets", "datasets"
LEAD = "Questions with their answers, one row each. The model learns to give the answers."
HELP = """<div class="help"><b>JSON, JSONL, CSV, TSV, Parquet or plain text</b>, also in gzip or zip, in any of these
forms; other names can be mapped by hand.
<pre>{"instruction": "…", "input": "…", "output": "…"}
{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}
{"prompt": "…", "completion": "…"}
{"text": "…"}</pre></div>"""
COLUMNS = (
    Column("Name"),
    Column("Form"),
    Column("Rows kept", True),
    Column("Rejected", True),
    Column("Held out", True),
    Column("Used by", True),
    Column("Kept"),
)


def build(page: gr.Blocks) -> None:
    navigation()
    single.build(page)
    with gr.Column(elem_classes="page") as overview:
        gr.HTML(heading(TITLE, LEAD))
        with gr.Row(equal_height=False):
            with gr.Column(scale=3):
                upload = gr.File(label="Drop a file of rows here", elem_id="upload", height=170)
                form = hub.build()
            with gr.Column(scale=2, elem_classes="beside"):
                gr.HTML(HELP)
                sample = gr.Button("Use the sample dataset", elem_id="use-sample", size="md")
        panel = incoming.build()
        done = gr.HTML(elem_id="kept")
        rows = gr.HTML(elem_id="datasets")
    upload.upload(receive, [upload, panel.held], [upload, panel.held, done]).then(*panel.entering)
    sample.click(use_sample, [panel.held], [panel.held, done]).then(*panel.entering)
    form.fetch.click(fetch, [form.found, form.config, form.split, panel.held], [panel.held, done]).then(*panel.entering)
    panel.keep.click(keep_it, [panel.held, panel.name], [panel.held, done, rows]).then(*panel.entering)
    page.load(show, None, [overview, rows, panel.held]).then(*panel.entering)


@told
def show(request: gr.Request) -> tuple[Any, str, Upload | None]:
    """All datasets, and the file that was on its way when the page was last left."""
    if wanted_id(request) is not None:
        return gr.Column(visible=False), "", None
    return gr.Column(visible=True), listing(), uploads.latest()


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
def receive(path: str | None, held: Upload | None) -> tuple[Any, Any, Any]:
    """Gradio's own copy is left to its cleaning; ours is private."""
    if path is None:
        return gr.skip(), gr.skip(), gr.skip()
    return gr.File(value=None), *_arrived(uploads.receive(Path(path), Path(path).name), held)


@told
def use_sample(held: Upload | None) -> tuple[Upload, str]:
    return _arrived(uploads.sample(), held)


@told
def fetch(found: Choices, config: str, split: str | None, held: Upload | None) -> tuple[Upload, str]:
    """It is read as soon as it is here."""
    upload = hub.fetch(found, config, split)
    if held is not None:
        uploads.discard(held)
    return upload, ""


def _arrived(upload: Upload, held: Upload | None) -> tuple[Upload, str]:
    """What was held before and never kept gives way."""
    if held is not None:
        uploads.discard(held)
    uploads.begin(upload)
    return upload, ""


@told
def keep_it(upload: Upload, name: str) -> tuple[None, str, str]:
    kept = uploads.keep(upload, name)
    surveys.start(kept.id, surveys.bases()[:1])
    words = "is kept." if kept.new else "was kept before: its rows are the same, so nothing was added."
    address = f"/datasets?id={kept.id}"
    done = (
        f'<div class="done" data-id="{kept.id}"><p>{link(address, "The dataset")} {words}</p>'
        f"{link(f'/wizard?dataset={kept.id}', 'Make an adapter from it', 'button')}</div>"
    )
    return None, done, listing()
