"""The last step's fields: how long and how fast to train, what to compare with, and a sweep over several values."""

from typing import NamedTuple

import gradio as gr

from app.services import planning
from prolora.methods import title as title_of

QUANTIZATION = [("NF4", "nf4"), ("full precision", "none")]
OTHERS = [(title_of(name), name) for name in planning.PEERS]


class Training(NamedTuple):
    """The fields of jobs.Choice from the name on, in its order."""

    name: gr.Textbox
    epochs: gr.Number
    learning_rate: gr.Number
    seed: gr.Number
    batch_size: gr.Number
    max_length: gr.Number
    quantization: gr.Radio
    twin: gr.Checkbox
    method: gr.Dropdown
    peers: gr.Dropdown
    accumulation: gr.Number
    gradient_checkpointing: gr.Checkbox
    gpus: gr.Number
    after: gr.Dropdown
    origin: gr.Number
    rates: gr.Textbox
    budgets: gr.Textbox
    seeds: gr.Textbox
    like: gr.Textbox


def training() -> tuple[Training, gr.HTML]:
    """The fields, and the place where a sweep's size is told."""
    name = gr.Textbox(label="Name", placeholder="As the dataset", elem_id="run-name", max_length=120)
    with gr.Row():
        epochs = gr.Number(label="Epochs", info="Times through the data.", elem_id="epochs", minimum=0)
        rate = gr.Number(
            label="Learning rate", info="How large a step is.", elem_id="learning-rate", minimum=0, step=1e-4
        )
        seed = gr.Number(1, label="Seed", info="The same seed, the same run.", elem_id="seed", precision=0)
    with gr.Accordion("All settings", open=False):
        batch, length, precision, method = _how()
        accumulation, checkpointing, gpus, after = _where()
    with gr.Accordion("Sweep", open=False, elem_id="sweep"):
        rates, budgets, seeds, size = _sweep()
    twin, peers = _beside()
    origin = gr.Number(visible=False, precision=0)
    fields = (name, epochs, rate, seed, batch, length, precision, twin, method, peers)
    like = gr.Textbox(visible=False)
    return Training(*fields, accumulation, checkpointing, gpus, after, origin, rates, budgets, seeds, like), size


def _how() -> tuple[gr.Number, gr.Number, gr.Radio, gr.Dropdown]:
    with gr.Row():
        batch = gr.Number(label="Batch size", info="Examples a step.", elem_id="batch-size", precision=0, minimum=1)
        length = gr.Number(
            label="Max length", info="Tokens; longer ones are cut.", elem_id="max-length", precision=0, minimum=16
        )
        precision = gr.Radio(
            QUANTIZATION,
            value="nf4",
            label="Base in",
            info="NF4 takes a quarter of the memory.",
            elem_id="quantization",
        )
        method = gr.Dropdown(
            [("PRoLoRA", "prolora"), ("LoRA", "lora"), *OTHERS],
            value="prolora",
            label="Method",
            info="What this adapter is trained by.",
            elem_id="method",
        )
    return batch, length, precision, method


def _where() -> tuple[gr.Number, gr.Checkbox, gr.Number, gr.Dropdown]:
    with gr.Row():
        accumulation = gr.Number(
            1,
            label="Passes a batch",
            info="More take less memory and more time; the result stays.",
            elem_id="accumulation",
            precision=0,
            minimum=1,
        )
        gpus = gr.Number(
            1, label="Devices", info="Of one worker, for each run.", elem_id="gpus", precision=0, minimum=1
        )
        after = gr.Dropdown(
            [], label="Wait for", info="Starts when that job has succeeded.", elem_id="after", interactive=True
        )
        checkpointing = gr.Checkbox(
            False,
            label="Compute activations twice",
            info="A third slower, in much less memory.",
            elem_id="checkpointing",
        )
    return accumulation, checkpointing, gpus, after


def _sweep() -> tuple[gr.Textbox, gr.Textbox, gr.Textbox, gr.HTML]:
    gr.HTML(
        '<p class="note">Several values with commas between: each combination is trained by every method that is '
        "chosen below, as one batch. An empty field takes the single value.</p>"
    )
    with gr.Row():
        rates = gr.Textbox(label="Learning rates", placeholder="1e-4, 3e-4", elem_id="sweep-rates", max_length=400)
        budgets = gr.Textbox(label="Budgets", placeholder="rank 4, rank 8", elem_id="sweep-budgets", max_length=400)
        seeds = gr.Textbox(label="Seeds", placeholder="1, 2, 3 or 1-5", elem_id="sweep-seeds", max_length=400)
    return rates, budgets, seeds, gr.HTML(elem_id="sweep-size")


def _beside() -> tuple[gr.Checkbox, gr.Dropdown]:
    twin = gr.Checkbox(
        True,
        label="Train the equal-budget LoRA too",
        info="Same data, seed and schedule: the only fair comparison.",
        elem_id="twin",
    )
    peers = gr.Dropdown(
        OTHERS,
        value=[],
        multiselect=True,
        label="Train others at this budget too",
        info="Each gets the setting nearest to the budget; data, seed, schedule and learning rate are the same.",
        elem_id="peers",
    )
    return twin, peers
