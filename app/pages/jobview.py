"""One job as HTML: how it stands, its scores beside the base's and its twin's, and its settings."""

from html import escape

from app.pages.joblines import address, progress_words, time_left
from app.pages.plots import SHARES
from app.pages.show import THIN, Column, ago, bar, chip, duration, facts, link, method, number, percent, table
from app.services.jobs import Detail, Line, Measure, now
from prolora.methods import title as title_of
from prolora.plan import Plan

METRICS = (
    ("exact_match", "Exact match", "Answers that equal the expected one, character by character."),
    ("token_f1", "Token F1", "Words in common with the expected answer."),
    ("loss", "Response loss", "On the expected answers; lower is better."),
    ("perplexity", "Perplexity", "How many words the model hesitates between; lower is better."),
)
SCORES = (
    Column("Held-out measure"),
    Column("Adapter", True),
    Column("95 % interval", True),
    Column("Base alone", True),
    Column("95 % interval", True),
    Column("n", True),
)


def head_html(detail: Detail) -> str:
    line = detail.line
    peers = "".join(f" · {link(address(each.id), _beside(each))} {chip(each.status)}" for each in detail.peers)
    left = "" if line.finished else f"<small class=num>{time_left(line)}</small>"
    error = f'<p class="problem">{escape(line.error)}</p>' if line.error else ""
    note = f"<p><small>{escape(line.note)}</small></p>" if line.note else ""
    return (
        f'<p class="crumbs">{link("/jobs", "Jobs")} · job {line.id}{peers}</p>'
        f'<header class="page-head" data-status="{line.status}"><h1>{escape(line.name)} {chip(line.status)}</h1>'
        f'<p class="lead">{method(line.method)} <span class=num>{escape(line.setting)}</span> · '
        f"{number(line.parameters)} parameters</p></header>"
        f'<div class="live">{bar(line.share)}'
        f"<div class=row><small>{progress_words(line)}</small>{left}</div></div>{error}{note}"
    )


def _beside(peer: Line) -> str:
    return f"{title_of(peer.method)} {'twin' if peer.method == 'lora' else 'of this budget'}"


def more_html(detail: Detail) -> str:
    return _scores(detail) + _links(detail) + _settings(detail)


def value_words(metric: str, value: float) -> str:
    return percent(value) if metric in SHARES else f"{value:.3f}"


def interval_words(metric: str, low: float, high: float) -> str:
    if metric in SHARES:
        return f"{100 * low:.1f}–{percent(high)}"
    return f"{low:.3f}–{high:.3f}"


def _scores(detail: Detail) -> str:
    found = {(measure.subject, measure.metric): measure for measure in detail.scores}
    rows = [
        (
            f'<span title="{escape(hint)}">{escape(title)}</span>',
            *_pair(found.get(("adapter", metric))),
            *_pair(found.get(("base", metric))),
            number(found["adapter", metric].n) if ("adapter", metric) in found else "–",
        )
        for metric, title, hint in METRICS
        if ("adapter", metric) in found or ("base", metric) in found
    ]
    return f"<section><h2>Scores</h2>{table(SCORES, rows, ident='scores')}</section>" if rows else ""


def _pair(measure: Measure | None) -> tuple[str, str]:
    if measure is None:
        return "–", "–"
    return value_words(measure.metric, measure.value), interval_words(measure.metric, measure.low, measure.high)


def _links(detail: Detail) -> str:
    if detail.adapter is None:
        return ""
    return (
        f'<div class="actions">{link(f"/playground?left={detail.adapter}", "Chat with it", "button")}'
        f"{link('/leaderboard', 'Leaderboard', 'button quiet')}"
        f"{link(f'/adapters?id={detail.adapter_id}', 'Files and downloads', 'button quiet')}</div>"
    )


def _settings(detail: Detail) -> str:
    line, plan = detail.line, detail.plan
    times = [("Queued", ago(line.created_at))]
    if line.started_at:
        times += [("Started", ago(line.started_at)), ("Ran", duration(line.seconds(now())))]
    pairs = [("Dataset", link(f"/datasets?id={line.dataset_id}", line.dataset)), *_plan(plan), *times]
    return f"<section><h2>Settings</h2>{facts(pairs)}</section>"


def _plan(plan: Plan) -> list[tuple[str, str]]:
    return [
        ("Base", escape(plan.base_model)),
        ("Base in", "NF4" if plan.quantization == "nf4" else "full precision"),
        ("Epochs", f"{plan.epochs:g}"),
        ("Learning rate", f"{plan.learning_rate:g}"),
        ("Batch size", str(plan.batch_size)),
        ("Max length", f"{plan.max_length}{THIN}tokens"),
        ("Seed", str(plan.seed)),
        ("Alpha, dropout", f"{plan.alpha:g}, {plan.dropout:g}"),
    ]
