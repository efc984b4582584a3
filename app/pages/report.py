"""A dataset as HTML: what was read, what was left out and why, and what the model will see."""

from collections.abc import Iterable
from html import escape

from app.pages.show import Column, ago, facts, heading, link, number, table
from app.services.datasets import Detail, Pieces, Preview
from prolora.dataset import Reject

REJECTS = (Column("Line", True), Column("Reason"), Column("Row"))
RAW_CHARACTERS = 160


def preview_html(preview: Preview) -> str:
    if preview.mapping is None:
        fields = ", ".join(escape(name) for name, _ in preview.columns) or "none"
        named = f'<p class="problem">The fields have names of their own ({fields}). Say above which is which.</p>'
        return _evidence(preview) + named
    return (
        _evidence(preview)
        + _counts(preview.kept, preview.rejected, preview.held_out)
        + _samples(preview.samples)
        + _rejects(preview.rejects, preview.rejected)
    )


def detail_html(detail: Detail) -> str:
    line = detail.line
    mapping = ", ".join(f"{escape(part)} ← {escape(field)}" for part, field in detail.mapping.items() if field)
    more = facts(
        [
            ("File", escape(line.source_name)),
            ("Form", escape(line.form)),
            ("Fields", f"<span class=mono>{mapping}</span>"),
            ("Kept", ago(line.created_at)),
            ("Content", f'<code title="{escape(detail.content_hash)}">{escape(detail.content_hash[:12])}</code>'),
        ]
    )
    button = link(f"/wizard?dataset={line.id}", "Make an adapter from it", "button")
    return (
        f'<p class="crumbs">{link("/datasets", "Datasets")}</p>'
        + f'<div class="hero">{heading(line.name)}{button}</div>'
        + _counts(line.kept, line.rejected, line.held_out)
        + more
        + _samples(detail.samples)
        + _rejects(detail.rejects, line.rejected, f"/download/dataset/{line.id}")
    )


def _evidence(preview: Preview) -> str:
    again = f"{number(preview.repeats)} of the kept rows repeat an earlier one." if preview.repeats else ""
    return f'<p class="note">{escape(" ".join((*preview.evidence, again)))}</p>'


def _counts(kept: int, rejected: int, held_out: int) -> str:
    tiles = (
        ("Rows kept", number(kept), "kept"),
        ("Trained on", number(kept - held_out), ""),
        ("Held out to measure", number(held_out), ""),
        ("Left out", number(rejected), "bad" if rejected else ""),
    )
    return f'<div class="tiles">{"".join(_tile(*tile) for tile in tiles)}</div>'


def _tile(title: str, value: str, kind: str) -> str:
    return f'<div class="tile {kind}"><span>{escape(title)}</span><b class="num">{value}</b></div>'


def _samples(samples: Iterable[Pieces]) -> str:
    """Everything here comes from the file: escaped, piece by piece."""
    cards = "".join(f'<pre class="sample">{"".join(_piece(*piece) for piece in pieces)}</pre>' for pieces in samples)
    if not cards:
        return ""
    words = "As the model sees it. It learns to write what is <mark>tinted</mark>; the rest it only reads."
    return f"<section><h2>Samples</h2><p class=lead>{words}</p>{cards}</section>"


def _piece(text: str, trained: bool) -> str:
    shown = escape(text)
    return f'<mark class="trained">{shown}</mark>' if trained else f"<span>{shown}</span>"


def _rejects(rejects: tuple[Reject, ...], total: int, address: str = "") -> str:
    if not rejects:
        return ""
    rows = (
        (number(reject.line), escape(reject.reason), f"<code>{escape(reject.raw[:RAW_CHARACTERS])}</code>")
        for reject in rejects
    )
    first = f" The first {len(rejects)} are shown." if total > len(rejects) else ""
    every = ""
    if address:
        rows_away = link(f"{address}/rejects-original", "the rows")
        reasons = link(f"{address}/rejects.jsonl", "the reasons")
        every = f" Take all of them away: {rows_away} as they stand in the file, or {reasons}."
    words = f'<p class="lead">Mend them in the file, or go on without them.{first}{every}</p>'
    return f"<section><h2>Left out</h2>{words}{table(REJECTS, rows, ident='rejects')}</section>"
