"""What a run will take of each worker's card, of time and of disk, in words and as a bar that follows the fields."""

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from app.pages.show import THIN, duration, number
from app.services.estimate import forecast
from app.services.estimate.disk import Space
from app.services.estimate.forecast import Forecast, OnCard
from app.services.estimate.memory import Calibration, Need, Verdict
from app.services.jobs import Choice
from prolora.errors import StudioError
from prolora.methods import title as title_of

PARTS = (
    ("weights", "Base weights", "The frozen base."),
    ("optimizer", "Adapter and optimizer", "The adapter, and two numbers of AdamW for each of its parameters."),
    ("gradients", "Gradients", "One number for each parameter of the adapter."),
    ("activations", "Activations", "What the forward pass keeps, and a step adds: it grows with rows and tokens."),
    ("libraries", "Libraries", "The device's context, gaps between blocks, and what else the formula does not count."),
)
CHIPS = {Verdict.FITS: "succeeded", Verdict.TIGHT: "tight", Verdict.TOO_LARGE: "failed"}
DAY = 86400
NO_WORKER = (
    "No worker has reported a device yet, so whether it fits is not known. The bar shows what a run takes of any card; "
    "start a worker and come back."
)


def follow(fields: Sequence[Any], shown: gr.HTML) -> None:
    """Tell the estimate anew whenever a field of the wizard changes."""
    for field in fields:
        field.change(estimate, list(fields), [shown], show_progress="hidden", trigger_mode="always_last")


def estimate(*values: Any) -> str:
    try:
        return forecast_html(forecast.of(Choice(*values)))
    except StudioError as error:
        return f'<section class="forecast"><h3>Estimate</h3><p class="note">{escape(str(error))}</p></section>'


def forecast_html(found: Forecast) -> str:
    if found.cards:
        cards = "".join(_card(each, found) for each in found.cards)
    else:
        cards = f"{_bar(found.need, found.need.total)}{_legend(found.need)}<p class=note>{NO_WORKER}</p>"
    return (
        f'<section class="forecast"><h3>Memory</h3>{cards}<h3>Disk</h3>{_disk(found.disk, found.free_bytes)}</section>'
    )


def size(taken: float) -> str:
    """Bytes in GB of 10^9, as `prolora plan` says them, or in MB."""
    if taken < 1e9:
        return f"{taken / 1e6:.0f}{THIN}MB"
    return f"{taken / 1e9:.{0 if taken >= 1e11 else 1}f}{THIN}GB"


def rough(seconds: float) -> str:
    """Whole hours and days for what takes long: no estimate knows its minutes."""
    if seconds < DAY / 2:
        return duration(seconds)
    return f"{seconds / DAY:.1f}{THIN}days" if seconds >= 2 * DAY else f"{seconds / 3600:.0f}{THIN}h"


def _card(found: OnCard, whole: Forecast) -> str:
    memory = found.card.memory_bytes
    how_many = f" · {found.card.workers} workers" if found.card.workers > 1 else ""
    away = "" if found.card.alive else " · last seen, not running now"
    name = "This machine’s processor" if found.card.name == "cpu" else found.card.name
    head = (
        f'<div class="row"><b>{escape(name)}</b><span class="soft">{size(memory)}{how_many}{away}</span>'
        f'<span class="chip {CHIPS[found.verdict]}">{found.verdict}</span></div>'
    )
    words = f"<p>{_verdict(found, whole)} {_changes(found)}</p>"
    time = f"<p class=note>{_time(found, whole)}</p>"
    return (
        f"<article>{head}{_bar(found.need, memory)}{_legend(found.need, memory)}{words}"
        f"<p class=note>{_rests_on(found.calibration)}</p>{time}</article>"
    )


def _bar(need: Need, memory: int) -> str:
    """Scaled to the card, or to the need where that is more; what is beyond the card is then hatched."""
    scale = max(need.total, memory)
    parts = "".join(
        f'<i class="{part}" style="width:{100 * getattr(need, part) / scale:.2f}%" title="{title}"></i>'
        for part, title, _ in PARTS
    )
    end = f'<u style="left:{100 * memory / scale:.2f}%" title="Beyond the card"></u>' if need.total > memory else ""
    said = f"{size(need.total)} of {size(memory)}"
    return f'<div class="memory" role="img" aria-label="{said}">{parts}{end}</div>'


def _legend(need: Need, memory: int = 0) -> str:
    entries = [(part, title, hint, getattr(need, part)) for part, title, hint in PARTS]
    if memory > need.total:
        entries.append(("free", "Left free", "Nobody needs it.", memory - need.total))
    said = "".join(
        f'<div title="{escape(hint)}"><dt><i class="{part}"></i>{title}</dt><dd>{size(taken)}</dd></div>'
        for part, title, hint, taken in entries
    )
    return f'<dl class="parts">{said}</dl>'


def _verdict(found: OnCard, whole: Forecast) -> str:
    taken, memory = size(found.need.total), size(found.card.memory_bytes)
    which = f" for {escape(title_of(found.heaviest.method))}, which takes most of the {whole.runs} runs"
    said = f"About {taken} of {memory}{which if whole.runs > 1 else ''}"
    return {
        Verdict.FITS: f"{said}: it fits.",
        Verdict.TIGHT: f"{said}: less than a tenth is left free, so a run may still fail.",
        Verdict.TOO_LARGE: f"{said}: it does not fit.",
    }[found.verdict]


def _changes(found: OnCard) -> str:
    if found.verdict == Verdict.FITS:
        return ""
    if not found.changes:
        return "No batch, however small, fits well: choose a smaller base model."
    return f"It fits with {_or([each.words for each in found.changes])}."


def _or(words: Sequence[str]) -> str:
    return "; or ".join(map(escape, words))


def _rests_on(calibration: Calibration) -> str:
    if not calibration.runs:
        return "By the formula alone: no finished run on such a device has been measured yet."
    runs = "1 finished run" if calibration.runs == 1 else f"{calibration.runs} finished runs"
    if not calibration.large:
        return f"By the formula, and {runs} on such devices, all too small to tell how far it is off for large ones."
    return f"Set right by {runs} on such devices: large ones took {calibration.ratio:.2f} times what the formula says."


def _time(found: OnCard, whole: Forecast) -> str:
    runs = "both" if whole.runs == 2 else f"all {whole.runs} runs"
    what = "Training" if whole.runs == 1 else f"Training {runs} one after the other"
    low, high = found.seconds / found.pace.off, found.seconds * found.pace.off
    tokens = f"{number(whole.rows.tokens)} tokens an epoch"
    length = tokens if whole.rows.counted else f"at most {tokens}, if every row were as long as the cut-off"
    return (
        f"{what}: about <b>{rough(found.seconds)}</b>, {rough(low)} to {rough(high)}. By {found.pace.why}; "
        f"{length}. Loading the base and measuring come on top."
    )


def _disk(disk: Space, free: int) -> str:
    said = f"{size(disk.most)} at most while training, {size(disk.kept)} of it to stay"
    fetched = f", {size(disk.base)} of that the base, which is fetched first" if disk.base else ""
    if disk.most > free:
        return f'<p class="problem">{said}{fetched}. Only {size(free)} are free: make room first.</p>'
    return f"<p>{said}{fetched}. {size(free)} are free.</p>"
