"""Adapters: what exists, how large it is, and the two forms to take it away in."""

from html import escape
from typing import Any

import gradio as gr

from app.pages.edge import told, wanted_id
from app.pages.frame import navigation
from app.pages.joblines import address
from app.pages.show import Column, ago, empty, heading, link, megabytes, method, number, table
from app.services import adapters
from app.services.adapters import Line

TITLE, PATH = "Adapters", "adapters"
LEAD = (
    "Compact holds each number once and needs the prolora package. Expanded is a plain LoRA, for any PEFT or vLLM. "
    "Methods that are no LoRA come as PEFT stores them."
)
COLUMNS = (
    Column("Adapter"),
    Column("Method"),
    Column("Setting", True),
    Column("Parameters", True),
    Column("Weights", True),
    Column("Base"),
    Column("Made"),
    Column("Take it away"),
)


def build(page: gr.Blocks) -> None:
    navigation()
    content = gr.HTML(elem_id="adapters", elem_classes="page")
    page.load(show, None, [content], show_progress="hidden")


@told
def show(request: gr.Request) -> Any:
    wanted = wanted_id(request)
    lines = adapters.listing() if wanted is None else [adapters.find_adapter(wanted)]
    if not lines:
        button = link("/wizard", "Make an adapter", "button")
        return heading(TITLE, LEAD) + empty("No adapter yet", "A training job leaves one here when it is done.", button)
    rows = table(COLUMNS, map(_row, lines), ident="adapters-table")
    every = "" if wanted is None else f'<p class="crumbs">{link("/adapters", "All adapters")}</p>'
    return every + heading(TITLE, LEAD) + rows


def _row(line: Line) -> tuple[str, ...]:
    sizes = "\n".join(f"{name} {number(size)} bytes" for name, size in line.file_sizes)
    return (
        f'<b class="mono">{escape(line.name)}</b><small>{link(address(line.job_id), line.job)}</small>',
        method(line.method),
        escape(line.setting),
        number(line.parameters),
        f'<span title="{escape(sizes)}">{megabytes(line.size_bytes)}</span><small>{escape(line.dtype)}</small>',
        escape(line.base),
        ago(line.created_at),
        _downloads(line),
    )


def _downloads(line: Line) -> str:
    forms = adapters.forms(line.method)
    alone = {"compact": "As stored", "expanded": "LoRA"}
    words = [alone[forms[0]]] if len(forms) == 1 else ["Compact", "Expanded"]
    buttons = [
        link(f"/download/adapter/{line.id}/{form}.zip", word, "button quiet small", f"{form}-{line.id}")
        for form, word in zip(forms, words, strict=True)
    ]
    return f'<div class="actions">{"".join(buttons)}</div>'
