"""One job as HTML: how it stands, its scores beside the base's and its twin's, and its settings."""

from html import escape

from app.pages.gauges import gibibytes, rate
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
# For each of db.jobs.REASONS: what to do, what the wizard is asked, and the words on the button.
ADVICE = {
    "error": ("The log below has the whole story. Retry runs the same plan again.", "", ""),
    "bad-input": ("Change what it names, then start it again.", "", "Clone with changes"),
    "out-of-memory": (
        "A smaller step needs less memory and learns the same.",
        "&fit=1",
        "Clone with settings that fit",
    ),
    "diverged": ("A third of the learning rate is a good next try.", "", "Clone with changes"),
    "lost": ("If memory was short, smaller steps help.", "&fit=1", "Clone with settings that fit"),
    "waited": ("Start that one again first, then retry this one.", "", ""),
}
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
    note = f"<p><small>{escape(line.note)}</small></p>" if line.note else ""
    batch = f" · {link(f'/batch?id={line.batch_id}', f'batch {line.batch_id}')}" if line.batch_id else ""
    return (
        f'<p class="crumbs">{link("/jobs", "Jobs")} · job {line.id}{batch}{_ancestry(detail)}{peers}</p>'
        f'<header class="page-head" data-status="{line.status}"><h1>{escape(line.name)} {chip(line.status)}</h1>'
        f'<p class="lead">{method(line.method)} <span class=num>{escape(line.setting)}</span> · '
        f"{number(line.parameters)} parameters</p></header>"
        f'<div class="live">{bar(line.share)}'
        f"<div class=row><small>{progress_words(line)}</small>{left}</div></div>{_failure(detail)}{note}"
    )


def _beside(peer: Line) -> str:
    return f"{title_of(peer.method)} {'twin' if peer.method == 'lora' else 'of this budget'}"


def _ancestry(detail: Detail) -> str:
    """What it repeats or is a copy of, and what came after it."""
    line = detail.line
    before = f" · after {link(address(line.origin_id), f'job {line.origin_id}')}" if line.origin_id else ""
    if detail.successor is None:
        return before
    return f"{before} · started again as {link(address(detail.successor), f'job {detail.successor}')}"


def _failure(detail: Detail) -> str:
    """Why it did not succeed, and the way on."""
    line = detail.line
    if not line.error:
        return ""
    words, query, button = ADVICE.get(line.reason or "error", ADVICE["error"])
    if line.reason == "waited" and line.after_id:
        way = link(address(line.after_id), f"To job {line.after_id}", "button small")
    else:
        way = link(f"/wizard?job={line.id}{query}", button, "button small") if button else ""
    return f'<div class="problem"><p>{escape(line.error)}</p><p class="row">{escape(words)} {way}</p></div>'


def more_html(detail: Detail) -> str:
    return _scores(detail) + _links(detail) + _settings(detail) + _provenance(detail)


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
    if line.status == "queued" and not line.after_id:
        times.append(("Before it in the queue", number(detail.ahead)))
    if line.started_at:
        times += [("Started", ago(line.started_at)), ("Ran", duration(line.seconds(now())))]
    pairs = [("Dataset", link(f"/datasets?id={line.dataset_id}", line.dataset)), *_plan(plan), *times]
    return f"<section><h2>Settings</h2>{facts(pairs)}</section>"


def _plan(plan: Plan) -> list[tuple[str, str]]:
    return [
        ("Base", escape(plan.base_model)),
        ("Base in", "NF4" if plan.quantization == "nf4" else "full precision"),
        ("Epochs", f"{plan.epochs:g}"),
        ("Learning rate", rate(plan.learning_rate)),
        ("Batch size", str(plan.batch_size) + (f" in {plan.accumulation} passes" if plan.accumulation > 1 else "")),
        ("Activations", "computed twice" if plan.gradient_checkpointing else "kept"),
        ("Max length", f"{plan.max_length}{THIN}tokens"),
        ("Seed", str(plan.seed)),
        ("Alpha, dropout", f"{plan.alpha:g}, {plan.dropout:g}"),
    ]


def _provenance(detail: Detail) -> str:
    """What it ran on, as the worker wrote it down, and the one line that does it again."""
    pairs = [(_title(key), _value(key, value)) for key, value in detail.record.items() if value not in (None, "", {})]
    pairs += [("Rows", f"<code>{escape(detail.dataset_hash[:16])}</code>"), ("Attempts", str(detail.attempt))]
    again = f'<pre class="reproduce">python -m worker.reproduce {detail.line.id}</pre>'
    file = link(f"/download/job/{detail.line.id}/run.yaml", "run.yaml")
    about = f'<p class="note">The very same run again, here or elsewhere with {file} in place of the number:</p>'
    return f"<section><h2>Provenance</h2>{facts(pairs)}{about}{again}</section>"


def _title(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _value(key: str, value: object) -> str:
    if isinstance(value, dict):
        return "<br>".join(f"{escape(str(name))} {escape(str(each))}" for name, each in value.items())
    if key.endswith("bytes") and isinstance(value, int | float):
        return gibibytes(value)
    return escape(str(value))
