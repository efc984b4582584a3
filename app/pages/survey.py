"""What the surveys of a dataset found, as HTML."""

from collections.abc import Iterable, Sequence
from html import escape

from app.pages.show import bar, number, percent
from app.services import surveys
from app.services.findings import Contamination, NearCopies, Overlaps
from app.services.surveys import FAILED, LENGTHS, STOPPED, Survey
from prolora.dataset.lengths import Lengths

TITLES = {surveys.NEAR: "Near copies", surveys.OVERLAP: "Overlap with benchmarks"}
SHOWN = 5  # examples


def unfinished(found: Iterable[Survey]) -> bool:
    return not all(survey.finished for survey in found)


def surveys_html(dataset_id: int, found: Sequence[Survey], base: str | None, cutoff: int) -> str:
    lengths = surveys.lengths(dataset_id, base) if base else None
    kind = surveys.lengths_on(base) if base else ""
    parts = [_lengths(lengths, cutoff)] if lengths else []
    parts += [_one(survey) for survey in found if survey.kind in TITLES or (survey.kind == kind and not lengths)]
    return "".join(parts)


def _one(survey: Survey) -> str:
    title = TITLES.get(survey.kind) or f"Lengths in tokens of {survey.kind.removeprefix(LENGTHS)}"
    return f"<section><h2>{escape(title)}</h2>{_body(survey)}</section>"


def _body(survey: Survey) -> str:
    if survey.state in (FAILED, STOPPED):
        return f'<p class="problem">{escape(survey.error or "The count was stopped.")}</p>'
    if isinstance(survey.found, NearCopies):
        return _near(survey.found)
    if isinstance(survey.found, Overlaps):
        return _overlaps(survey.found)
    words = f"Counted {percent(survey.done)}" if survey.done else "Waiting to be counted"
    return f'<div class="live">{bar(survey.done, words)}<div class="row"><span>{words}</span></div></div>'


def _near(found: NearCopies) -> str:
    if not found.copies:
        return f'<p class="note">None of the {number(found.rows)} rows is a near copy of an earlier one.</p>'
    lead = f"{number(found.copies)} of {number(found.rows)} rows are near copies of an earlier one."
    items = "".join(
        f"<li>Row {number(each.row + 1)} is {percent(each.similarity)} like row {number(each.original + 1)}.</li>"
        for each in found.examples[:SHOWN]
    )
    return f'<p>{lead} Choose “near copies” below to see them.</p><ul class="note">{items}</ul>'


def _overlaps(found: Overlaps) -> str:
    if not found.benchmarks:
        return '<p class="note">No benchmark has been imported, so nothing was compared.</p>'
    return "".join(map(_contamination, found.benchmarks))


def _contamination(found: Contamination) -> str:
    name = escape(found.benchmark)
    if not found.rows:
        items = f"{number(found.total)} items of {name}"
        return f'<p class="note">No row shares 13 words in a row with one of the {items}.</p>'
    items = "".join(f"<li>Row {number(each.row + 1)}: “{escape(each.words)}”</li>" for each in found.examples[:SHOWN])
    return (
        f'<p class="problem">{number(found.rows)} rows share 13 words in a row with {number(found.items)} of the '
        f"{number(found.total)} items of {name}: a score on it would be too good to be true.</p>"
        f'<ul class="note">{items}</ul>'
    )


def _lengths(found: Lengths, cutoff: int) -> str:
    cut, bins = found.at(cutoff), found.histogram(cutoff)
    most = max((each.rows for each in bins), default=0) or 1
    bars = "".join(
        f'<i class="{"beyond" if each.over >= cutoff else "within"}" style="height:{100 * each.rows / most:.1f}%" '
        f'title="{number(each.over + 1)} to {number(each.to)} tokens: {number(each.rows)} rows"></i>'
        for each in bins
    )
    share = percent(cut.cut / cut.rows) if cut.rows else percent(0)
    words = (
        f"{number(cut.cut)} of {number(cut.rows)} rows ({share}) are longer than {number(cutoff)} tokens and are cut."
    )
    bad = f" {number(cut.untrained)} have no trained token left and teach nothing." if cut.untrained else ""
    return (
        f'<section><h2>Lengths</h2><div class="histogram" role="img" aria-label="{escape(words)}">{bars}</div>'
        f'<div class="histogram-axis"><span>0</span><span>{number(cutoff)} tokens</span>'
        f"<span>{number(bins[-1].to)}</span></div><p>{words}{bad}</p></section>"
    )
