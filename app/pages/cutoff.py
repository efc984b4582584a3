"""What becomes of a dataset's rows in a run, in words."""

from app.pages.show import link, number, percent
from app.services import surveys
from app.services.datasets import Line
from app.services.jobs import Choice
from prolora.errors import StudioError


def rows_html(chosen: Line | None, choice: Choice) -> str:
    """How many rows are trained on, and what the cut-off takes from them."""
    if chosen is None:
        return f'<p class="problem">There is no dataset yet. {link("/datasets", "Bring one in first")}.</p>'
    trained, held_out = number(chosen.kept - chosen.held_out), number(chosen.held_out)
    rows = link(f"/datasets?id={chosen.id}", "See them")
    words = f"{trained} rows are trained on; {held_out} are held out to measure the result. {rows}"
    return f'<p class="note">{words}</p>{_cut(chosen.id, choice.base, int(choice.max_length or 0))}'


def ask(dataset_id: int | None, base: str) -> None:
    """Have the chosen dataset's rows counted in the chosen base's tokens, if its tokenizer is here."""
    if dataset_id is not None and base in surveys.bases():
        surveys.ask(dataset_id, surveys.lengths_on(base))


def _cut(dataset_id: int, base: str, cutoff: int) -> str:
    """Nothing while the rows' lengths on this base have not been counted."""
    try:
        cut = surveys.cut(dataset_id, base, cutoff)
    except StudioError:
        return ""
    if cut is None or not cut.cut:
        return ""
    share = percent(cut.cut / cut.rows)
    words = f"{number(cut.cut)} of them ({share}) are longer than {number(cutoff)} tokens and are cut"
    more = f"; {number(cut.untrained)} teach nothing then and are left out" if cut.untrained else ""
    return f'<p class="{"problem" if cut.untrained else "note"}">{words}{more}.</p>'
