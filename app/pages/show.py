"""Words, numbers and small pieces of HTML, the same on every page. Everything from outside is escaped here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from prolora.methods import family
from prolora.methods import title as title_of

THIN = "\u202f"  # narrow and unbreakable


def number(value: float) -> str:
    """19998080 -> 19 998 080, with thin spaces."""
    return f"{value:,.0f}".replace(",", THIN)


def decimal(value: float, places: int = 3) -> str:
    return f"{value:.{places}f}"


def megabytes(size: float) -> str:
    places = 1 if size >= 1e6 else 2
    return f"{size / 1e6:.{places}f}{THIN}MB"


def percent(share: float) -> str:
    return f"{100 * share:.1f}{THIN}%"


def duration(seconds: float) -> str:
    """40 s; 3 min 5 s; 1 h 12 min."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole}{THIN}s"
    if whole < 3600:
        return f"{whole // 60}{THIN}min {whole % 60}{THIN}s"
    return f"{whole // 3600}{THIN}h {whole % 3600 // 60}{THIN}min"


def ago(moment: datetime) -> str:
    """Relative, with the exact time on hover."""
    past = (datetime.now(UTC) - moment).total_seconds()
    words = "just now" if past < 5 else f"{_rough(past)} ago"
    return f'<time title="{moment:%Y-%m-%d %H:%M:%S} UTC">{words}</time>'


def _rough(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{THIN}{unit}"
    return f"{int(seconds)}{THIN}s"


def chip(status: str) -> str:
    return f'<span class="chip {escape(status)}">{escape(status)}</span>'


def method(name: str) -> str:
    """The family of PRoLoRA in amber, that of LoRA in grey-blue."""
    return f'<span class="method {family(name)}">{escape(title_of(name))}</span>'


def link(address: str, words: str, kind: str = "", ident: str = "") -> str:
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in (("class", kind), ("id", ident)) if value)
    return f'<a href="{escape(address)}"{attributes}>{escape(words)}</a>'


def bar(share: float, words: str = "") -> str:
    width = min(max(share, 0.0), 1.0) * 100
    label = escape(words) or "progress"
    return (
        f'<span class="bar" role="progressbar" aria-valuenow="{width:.0f}" aria-label="{label}">'
        f'<i style="width:{width:.1f}%"></i></span>'
    )


def heading(title: str, lead: str = "") -> str:
    words = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return f'<header class="page-head"><h1>{escape(title)}</h1>{words}</header>'


def empty(title: str, words: str, button: str = "") -> str:
    """What a page shows while it has nothing to show."""
    return f'<div class="empty"><h2>{escape(title)}</h2><p>{escape(words)}</p>{button}</div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Terms and values; a value is HTML, so its caller escapes it."""
    return f'<dl class="facts">{"".join(f"<div><dt>{escape(k)}</dt><dd>{v}</dd></div>" for k, v in pairs)}</dl>'


@dataclass(frozen=True)
class Column:
    title: str
    numeric: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Cell:
    """HTML to show and, where a table is sorted by it, the value to sort by."""

    html: str
    key: float | str | None = None


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[Cell | str]], ident: str = "", sortable: bool = False
) -> str:
    """Cells are HTML; numeric columns are right-aligned in Mono."""
    head = "".join(_head(column, sortable) for column in columns)
    body = "".join(
        f"<tr>{''.join(_cell(column, cell) for column, cell in zip(columns, row, strict=True))}</tr>" for row in rows
    )
    kind = "grid sortable" if sortable else "grid"
    name = f' id="{escape(ident)}"' if ident else ""
    whole = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table class="{kind}"{name}>{whole}</table></div>'


def _head(column: Column, sortable: bool) -> str:
    kind = ' class="num"' if column.numeric else ""
    hint = f' title="{escape(column.hint)}"' if column.hint else ""
    title = f'<button type="button">{escape(column.title)}</button>' if sortable else escape(column.title)
    return f'<th scope="col"{kind}{hint}>{title}</th>'


def _cell(column: Column, cell: Cell | str) -> str:
    whole = cell if isinstance(cell, Cell) else Cell(cell)
    kind = ' class="num"' if column.numeric else ""
    key = f' data-key="{escape(str(whole.key))}"' if whole.key is not None else ""
    return f"<td{kind}{key}>{whole.html}</td>"
