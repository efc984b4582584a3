"""A dataset as HTML: what was read, what was left out and why, and what the model will see."""

import re
from collections.abc import Iterable
from html import escape
from typing import Any

from app.pages.show import Column, ago, facts, heading, link, number, table
from app.services.datasets import Detail, Pieces
from app.services.uploads import Known, Preview
from prolora.dataset import Reject
from prolora.dataset.forms import REPAIRS

RAW_CHARACTERS = 160


def preview_html(preview: Preview) -> str:
    report = preview.report
    said = _commit(report) + _evidence(report) + _unconfirmed(preview) + _known(preview.known)
    if preview.mapping is None:
        fields = ", ".join(map(escape, report["columns"])) or "none"
        named = f'<p class="problem">The fields have names of their own ({fields}). Say above which is which.</p>'
        return said + named + _first(report)
    return (
        said
        + counts(report["kept"], report["rejected"], report["held_out"])
        + samples(preview.samples)
        + rejects(preview.rejects, report)
    )


def head_html(detail: Detail) -> str:
    """What a kept dataset is and where it came from."""
    line = detail.line
    button = link(f"/wizard?dataset={line.id}", "Make an adapter from it", "button")
    return (
        f'<p class="crumbs">{link("/datasets", "Datasets")}</p>'
        + f'<div class="hero">{heading(line.name)}{button}</div>'
        + _evidence(detail.report)
        + counts(line.kept, line.rejected, line.held_out)
        + facts([*_origin(detail), ("Kept", ago(line.created_at)), ("Content", _hash(detail.content_hash))])
    )


def _origin(detail: Detail) -> list[tuple[str, str]]:
    line, report = detail.line, detail.report
    if detail.recipe:
        return [("Made from", _parents(detail)), ("By", escape(recipe_words(detail.recipe)))]
    mapping = ", ".join(f"{escape(part)} ← {escape(field)}" for part, field in detail.mapping.items() if field)
    repaired = ", ".join(f"{escape(code)} ({number(rows)})" for code, rows in report.get("repaired", {}).items())
    found = [
        ("File", escape(line.source_name)),
        ("File's hash", _hash(detail.source_hash)),
        ("Form", escape(line.form)),
        ("Fields", f"<span class=mono>{mapping}</span>"),
        ("Repaired", repaired or "nothing"),
        *_fetched(report),
    ]
    same = [link(f"/datasets?id={other}", name) for other, name in detail.same_file]
    return [*found, ("Also from this file", ", ".join(same))] if same else found


def _fetched(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Where a file comes from that no person has brought."""
    hub = report.get("hub")
    return [("From the hub", _split(hub)), ("Commit", _hash(hub["revision"]))] if hub else []


def _split(hub: dict[str, Any]) -> str:
    return escape(f"{hub['name']} ({hub['config']}, {hub['split']})")


def _commit(report: dict[str, Any]) -> str:
    hub = report.get("hub")
    return f'<p class="note">From the hub: {_split(hub)} at commit {_hash(hub["revision"])}.</p>' if hub else ""


def _parents(detail: Detail) -> str:
    weights = {str(part["dataset_id"]): part["weight"] for part in (detail.recipe or {})["parts"]}
    return ", ".join(
        f"{link(f'/datasets?id={number}', name)} × {weights[str(number)]:g}" for number, name in detail.parents
    )


def recipe_words(recipe: dict[str, Any]) -> str:
    """The choices of a recipe besides its parts."""
    words = [f"without {each.removeprefix('overlap:')}" for each in recipe["without"]]
    words += [f"saying “{recipe['saying']}”"] if recipe["saying"] else []
    words += [f"not saying “{recipe['not_saying']}”"] if recipe["not_saying"] else []
    words += [f"without {len(recipe['excluded'])} chosen rows"] if recipe["excluded"] else []
    words += [f"{recipe['cap']:,} rows at most"] if recipe["cap"] else []
    return ", ".join(words) or "taking all rows"


def _hash(digest: str) -> str:
    return f'<code title="{escape(digest)}">{escape(digest[:12])}</code>'


def _evidence(report: dict[str, Any]) -> str:
    repeats = report.get("repeats", 0)
    again = (
        f"{number(repeats)} of the kept rows {'repeats' if repeats == 1 else 'repeat'} an earlier one."
        if repeats
        else ""
    )
    words = " ".join([*report.get("evidence", ()), again]).strip()
    return f'<p class="note">{escape(words)}</p>' if words else ""


def _unconfirmed(preview: Preview) -> str:
    if not preview.unconfirmed:
        return ""
    words = "Are its accents and special characters right below? Then choose that encoding above, else the right one."
    return f'<p class="problem">{words}</p>'


def _known(known: Known | None) -> str:
    if known is None:
        return ""
    whole = "with the same rows: keeping it again adds nothing" if known.same_rows else "read in another way"
    return f'<p class="note">This file was kept before as {link(f"/datasets?id={known.id}", known.name)}, {whole}.</p>'


def repair_label(code: str, rows: int) -> str:
    return f"{REPAIRS.get(code, code)} ({number(rows)} row{'' if rows == 1 else 's'})"


def _first(report: dict[str, Any]) -> str:
    """The first rows as they came, for choosing what their fields mean."""
    cards = "".join(
        f'<pre class="sample">{"".join(_field(name, text) for name, text in row.items())}</pre>'
        for row in report["first"]
    )
    return f"<section><h2>The first rows</h2>{cards}</section>" if cards else ""


def _field(name: str, text: str) -> str:
    return f"<b>{escape(name)}</b>: {escape(text)}\n"


def counts(kept: int, rejected: int, held_out: int) -> str:
    tiles = (
        ("Rows kept", number(kept), "kept"),
        ("Trained on", number(kept - held_out), ""),
        ("Held out to measure", number(held_out), ""),
        ("Left out", number(rejected), "bad" if rejected else ""),
    )
    return f'<div class="tiles">{"".join(_tile(*tile) for tile in tiles)}</div>'


def _tile(title: str, value: str, kind: str) -> str:
    return f'<div class="tile {kind}"><span>{escape(title)}</span><b class="num">{value}</b></div>'


def samples(shown: Iterable[Pieces]) -> str:
    """Everything here comes from the file: escaped, piece by piece."""
    cards = "".join(f'<pre class="sample">{pieces_html(pieces)}</pre>' for pieces in shown)
    if not cards:
        return ""
    words = "As the model sees it. It learns to write what is <mark>tinted</mark>; the rest it only reads."
    return f"<section><h2>Samples</h2><p class=lead>{words}</p>{cards}</section>"


def pieces_html(pieces: Pieces, wanted: str = "") -> str:
    """`wanted` is what somebody looks for in them."""
    return "".join(_piece(text, trained, wanted) for text, trained in pieces)


def _piece(text: str, trained: bool, wanted: str) -> str:
    shown = _found(text, wanted) if wanted else escape(text)
    return f'<mark class="trained">{shown}</mark>' if trained else f"<span>{shown}</span>"


def _found(text: str, wanted: str) -> str:
    parts = re.split(f"({re.escape(wanted)})", text, flags=re.IGNORECASE)
    return "".join(f'<b class="hit">{escape(part)}</b>' if at % 2 else escape(part) for at, part in enumerate(parts))


def rejects(shown: tuple[Reject, ...], report: dict[str, Any], address: str = "") -> str:
    if not shown:
        return ""
    unit = str(report.get("unit", "line")).capitalize()
    columns = (Column(unit, True), Column("Reason"), Column("Row"))
    rows = (
        (number(reject.line), escape(reject.reason), f"<code>{escape(reject.raw[:RAW_CHARACTERS])}</code>")
        for reject in shown
    )
    first = f" The first {len(shown)} are shown." if sum(report.get("reasons", {}).values()) > len(shown) else ""
    every = ""
    if address:
        rows_away = link(f"{address}/rejects-original", "the rows")
        reasons = link(f"{address}/rejects.jsonl", "the reasons")
        every = f" Take all of them away: {rows_away} as they stand in the file, or {reasons}."
    words = f'<p class="lead">Mend them in the file, or go on without them.{first}{every}</p>'
    return f"<section><h2>Left out</h2>{words}{_reasons(report)}{table(columns, rows, ident='rejects')}</section>"


def _reasons(report: dict[str, Any]) -> str:
    """How many rows each reason left out, the commonest first."""
    found = sorted(report.get("reasons", {}).items(), key=lambda item: -item[1])
    if len(found) < 2:
        return ""
    words = " · ".join(f"<code>{escape(code)}</code> {number(rows)}" for code, rows in found)
    return f'<p class="note">{words}</p>'
