"""Home: what to do next, what runs now, what came out last."""

from html import escape
from typing import Any

import gradio as gr

from app.pages.frame import navigation
from app.pages.joblines import strip
from app.pages.show import Column, ago, chip, heading, link, method, number, percent, table
from app.services import adapters, chat, datasets, jobs, leaderboard

TOUR = (
    (
        "Bring data",
        "Upload questions with their answers, or take the sample: 480 shop letters that become tickets.",
        "/datasets",
    ),
    ("Set a budget", "Say how many parameters the adapter may have. The studio suggests how to share them.", "/wizard"),
    ("Train both", "PRoLoRA and the LoRA of the same size train one after the other and are measured alike.", "/jobs"),
    ("Compare", "Put one question to both, side by side, and take the adapters with you.", "/playground"),
)
COLUMNS = (
    Column("Adapter"),
    Column("Method"),
    Column("Setting", True),
    Column("Parameters", True),
    Column("Exact match", True),
    Column("Made"),
)
LAST = 5


def build(page: gr.Blocks) -> None:
    navigation()
    content = gr.HTML(elem_id="home", elem_classes="page")
    timer = gr.Timer(2, active=False)
    page.load(show, outputs=[content, timer], show_progress="hidden")
    timer.tick(show, outputs=[content, timer], show_progress="hidden")


def show() -> tuple[str, Any]:
    running, made = jobs.unfinished(), adapters.listing(LAST)
    serving = chat.serving()
    parts = [_next(bool(running), bool(made)), _server(serving)]
    if running:
        parts.append(f"<section><h2>Now</h2>{strip(running)}</section>")
    if made:
        parts.append(f"<section><h2>Last adapters</h2>{_adapters(made)}</section>")
    elif not running:
        parts.append(_tour())
    return "".join(parts), gr.Timer(active=bool(running) or not serving.ready)


def _next(running: bool, made: bool) -> str:
    """One button: the thing to do next."""
    if made:
        words, button = "Your adapters are ready to be compared.", link("/playground", "Chat with them", "button")
    elif running:
        words, button = "The adapter is being trained.", link("/jobs", "Watch it", "button")
    elif datasets.listing():
        words, button = (
            "Your data is here. Now set a budget for the adapter.",
            link("/wizard", "Make an adapter", "button"),
        )
    else:
        words = "Fine-tune a language model with adapters that share their weights, and see what that is worth."
        button = link("/datasets", "Bring data", "button")
    return f'<div class="hero">{heading("PRoLoRA Studio", words)}{button}</div>'


def _server(serving: chat.ServingState) -> str:
    words = {
        "starting": "The model server is starting; this takes up to a minute.",
        "ready": f"The model server is ready and serves {serving.base}.",
        "failed": f"The model server failed and is tried again. {serving.detail}",
    }.get(serving.state, f"The model server is {serving.state}.")
    return f'<p class="server">{chip(serving.state)} {escape(words)}</p>'


def _tour() -> str:
    steps = "".join(
        f'<li><a href="{address}"><b>{escape(title)}</b><span>{escape(words)}</span></a></li>'
        for title, words, address in TOUR
    )
    return f'<section><h2>Three minutes to a first adapter</h2><ol class="tour">{steps}</ol></section>'


def _adapters(made: list[adapters.Line]) -> str:
    scores = {entry.adapter_name: entry.scores for entry in leaderboard.entries()}
    rows = [
        (
            link(f"/adapters?id={line.id}", line.name),
            method(line.method),
            escape(line.setting),
            number(line.parameters),
            percent(scores[line.name]["exact_match"]) if "exact_match" in scores.get(line.name, {}) else "–",
            ago(line.created_at),
        )
        for line in made
    ]
    return table(COLUMNS, rows)
