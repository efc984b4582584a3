"""The form of a hub's dataset: its name, what it offers, and which split at which commit is to be fetched."""

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from app.pages.show import link
from app.services import datasets, fetching
from app.services.hub import Choices
from app.services.uploads import Upload
from prolora.errors import DatasetError

LEAD = """<div class="help"><b>From the hub</b>, by its name there. It comes as it stands at one commit, and nothing of
it is run.</div>"""
TRAIN = "train"


@dataclass(frozen=True)
class Form:
    """What the page needs of it."""

    found: gr.State
    config: gr.Dropdown
    split: gr.Dropdown
    fetch: gr.Button


def build() -> Form:
    found = gr.State()
    gr.HTML(LEAD)
    with gr.Row(elem_classes="hero-row"):
        name = gr.Textbox(label="Dataset", placeholder="owner/name", elem_id="hub-name", max_length=200, scale=3)
        revision = gr.Textbox(
            label="Revision", placeholder="the newest", elem_id="hub-revision", max_length=200, scale=2
        )
        ask = gr.Button("Look it up", elem_id="hub-look-up", size="md", scale=1)
    problem = gr.HTML(elem_id="hub-problem", visible=False)
    with gr.Column(visible=False, elem_id="hub-offer") as offer:
        with gr.Row(elem_classes="hero-row"):
            config = gr.Dropdown(label="Config", elem_id="hub-config", scale=3)
            split = gr.Dropdown(label="Split", elem_id="hub-split", scale=2)
            fetch = gr.Button("Fetch", variant="primary", elem_id="hub-fetch", size="md", scale=1)
        pinned = gr.HTML(elem_id="hub-pinned")
    offered = [found, offer, config, split, pinned, problem]
    gr.on([ask.click, name.submit, revision.submit], look_up, [name, revision], offered)
    gr.on([name.change, revision.change], forget, None, offered, show_progress="hidden")
    config.input(choose_config, [found, config], [split, pinned], show_progress="hidden")
    split.input(pinned_html, [found, config, split], [pinned], show_progress="hidden")
    return Form(found, config, split, fetch)


def look_up(name: str, revision: str) -> list[Any]:
    """Not a toast: what a hub answers is to be read at leisure."""
    try:
        found = fetching.look_up(name.strip(), revision.strip())
    except DatasetError as error:
        words = f'<p class="problem">{escape(str(error))}</p>'
        return [None, gr.Column(visible=False), gr.skip(), gr.skip(), "", gr.HTML(words, visible=True)]
    config = found.configs[0]
    split, pinned = choose_config(found, config)
    configs = gr.Dropdown(list(found.configs), value=config)
    return [found, gr.Column(visible=True), configs, split, pinned, gr.HTML("", visible=False)]


def forget() -> list[Any]:
    """What was offered is of another name."""
    return [None, gr.Column(visible=False), gr.skip(), gr.skip(), "", gr.HTML("", visible=False)]


def choose_config(found: Choices, config: str) -> tuple[Any, str]:
    """Nobody trains on test items without having chosen them."""
    splits = found.splits[config]
    split = TRAIN if TRAIN in splits else None
    return gr.Dropdown(list(splits), value=split), pinned_html(found, config, split)


def pinned_html(found: Choices, config: str, split: str | None) -> str:
    commit = f'<code title="{escape(found.revision)}">{escape(found.revision[:12])}</code>'
    words = f"{escape(found.name)}, pinned to its commit {commit}."
    known = datasets.find_fetched(found.name, config, split, found.revision) if split else None
    if known:
        number, name = known
        words += f" This split of it was kept before as {link(f'/datasets?id={number}', name)}."
    return f'<p class="note">{words}</p>'


def fetch(found: Choices, config: str, split: str | None) -> Upload:
    return fetching.begin(found.name, config, split or "", found.revision)
