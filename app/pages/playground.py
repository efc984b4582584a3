"""Playground: one prompt, two models, both answers at once."""

from collections.abc import AsyncIterator
from html import escape
from typing import Any

import gradio as gr

from app.pages.edge import told
from app.pages.frame import navigation
from app.pages.show import chip, heading
from app.services import chat
from app.services.chat import Options, Reply, Turn

TITLE, PATH = "Playground", "playground"
LEAD = "One question for both sides. What you see is what the served model streams, side by side."
History = list[dict[str, Any]]
EMPTY = '<p class="stats">–</p>'
SIDES = ("left", "right")


def build(page: gr.Blocks) -> None:
    navigation()
    with gr.Column(elem_classes="page"):
        gr.HTML(heading(TITLE, LEAD))
        server = gr.HTML(elem_id="server")
        with gr.Row(equal_height=True):
            pickers, talks, stats = zip(*(_column(side) for side in SIDES), strict=True)
        with gr.Row(equal_height=False, elem_classes="ask"):
            prompt = gr.Textbox(
                placeholder="Ask both… (Enter sends, Shift+Enter breaks the line)",
                show_label=False,
                container=False,
                lines=1,
                max_lines=8,
                elem_id="prompt",
                scale=8,
            )
            with gr.Column(scale=1, min_width=120):
                send = gr.Button("Send to both", variant="primary", elem_id="send")
                stop = gr.Button("Stop", elem_id="stop", visible=False)
                clear = gr.Button("Start anew", elem_id="clear")
        with gr.Accordion("Parameters", open=False), gr.Row():
            temperature = gr.Slider(
                0,
                2,
                0,
                step=0.05,
                label="Temperature",
                info="0 always takes the likeliest word.",
                elem_id="temperature",
            )
            most = gr.Slider(
                1, 2048, 128, step=1, label="Most new tokens", info="Where an answer is cut.", elem_id="max-tokens"
            )
    timer = gr.Timer(2, active=False)
    page.load(enter, None, [*pickers, server, timer], show_progress="hidden")
    timer.tick(look, None, [server, timer], show_progress="hidden")
    inputs = [prompt, *pickers, *talks, temperature, most]
    outputs = [prompt, *talks, *stats, send, stop]
    answers: list[dict[str, Any]] = [
        trigger(answer, inputs, outputs, show_progress="hidden", concurrency_limit=8)
        for trigger in (send.click, prompt.submit)
    ]
    stop.click(idle, None, [send, stop], cancels=answers, show_progress="hidden")
    clear.click(lambda: ([], [], EMPTY, EMPTY), None, [*talks, *stats], cancels=answers, show_progress="hidden")


def _column(side: str) -> tuple[gr.Dropdown, gr.Chatbot, gr.HTML]:
    with gr.Column(min_width=320):
        picker = gr.Dropdown(label=f"{side.capitalize()} model", elem_id=f"pick-{side}", filterable=True)
        talk = gr.Chatbot(
            show_label=False,
            height=380,
            elem_id=f"chat-{side}",
            buttons=["copy"],
            feedback_options=None,
            render_markdown=False,  # the answer itself, not what Markdown makes of it
            allow_tags=False,
            allow_file_downloads=False,
            layout="bubble",
            placeholder="The answer comes here.",
        )
        stats = gr.HTML(EMPTY, elem_id=f"stats-{side}")
    return picker, talk, stats


@told
def enter(request: gr.Request) -> list[Any]:
    """PRoLoRA left and its LoRA right, unless the address names others; one that is not served is chosen by nobody."""
    models = chat.models()
    names = [model.name for model in models]
    choices = [(model.title, model.name) for model in models]
    first = {method: next((m.name for m in models if m.method == method), names[0]) for method in ("prolora", "lora")}
    pickers = []
    for side, method in zip(SIDES, ("prolora", "lora"), strict=True):
        asked = request.query_params.get(side, first[method])
        served = asked in names
        pickers.append(
            gr.Dropdown(choices, value=asked if served else None, info="" if served else chat.why_not(asked))
        )
    return [*pickers, *look()]


def look() -> tuple[str, Any]:
    """How the model server stands; asked again until it is ready."""
    serving = chat.serving()
    words = {
        "ready": f"{serving.base} is served.",
        "starting": "The model server is starting; this takes up to a minute.",
        "failed": f"The model server failed and is tried again. {serving.detail}",
    }.get(serving.state, f"The model server is {serving.state}.")
    return (
        f'<p class="server" data-state="{escape(serving.state)}">{chip(serving.state)} {escape(words)}</p>',
        gr.Timer(active=not serving.ready),
    )


def idle() -> tuple[Any, Any]:
    return gr.Button(visible=True), gr.Button(visible=False)


async def answer(
    prompt: str,
    left: str | None,
    right: str | None,
    talk_left: History,
    talk_right: History,
    temperature: float,
    most: int,
) -> AsyncIterator[list[Any]]:
    """One generator for both columns: two listeners on one trigger would run one after the other."""
    if not prompt.strip():
        raise gr.Error("Write something to send first.", duration=5, print_exception=False)
    if not left or not right:
        raise gr.Error("Choose a model on both sides first.", duration=5, print_exception=False)
    talks = [[*talk, {"role": "user", "content": prompt}] for talk in (talk_left, talk_right)]
    first, second = (Turn(model, _messages(talk)) for model, talk in zip((left, right), talks, strict=True))
    busy = (gr.Button(visible=False), gr.Button(visible=True))
    yield ["", *talks, EMPTY, EMPTY, *busy]
    async for replies in chat.stream_pair(first, second, Options(temperature, int(most))):
        shown = [[*talk, _bubble(reply)] for talk, reply in zip(talks, replies, strict=True)]
        yield [gr.skip(), *shown, *map(stats_html, replies), *busy]
    yield [*[gr.skip()] * 5, *idle()]


def _messages(talk: History) -> tuple[dict[str, str], ...]:
    """What was said, without what only the page shows; a failed answer is not part of the talk."""
    return tuple(
        {"role": turn["role"], "content": _text(turn["content"])}
        for turn in talk
        if not (turn.get("metadata") or {}).get("title")
    )


def _text(content: Any) -> str:
    """Gradio hands a message back as a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") if isinstance(part, dict) else str(part) for part in content)


def _bubble(reply: Reply) -> dict[str, Any]:
    if reply.error:
        return {"role": "assistant", "content": reply.error, "metadata": {"title": "No answer"}}
    return {"role": "assistant", "content": reply.text or "…"}


def stats_html(reply: Reply) -> str:
    if reply.error or reply.first_token is None:
        return EMPTY
    speed = f"{reply.speed:.0f}" if reply.speed else "–"
    return (
        f'<p class="stats" data-done="{str(reply.done).lower()}">First token '
        f"<b>{1000 * reply.first_token:.0f} ms</b> · <b>{speed}</b> tokens/s · <b>{reply.tokens}</b> tokens</p>"
    )
