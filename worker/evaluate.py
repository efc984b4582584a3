"""The held-out rows at the end of a job: the adapter measured against the base alone."""

import json
import math
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from peft import PeftModel
from sqlalchemy import select
from sqlalchemy.orm import Session
from tokenizers import Tokenizer

from db import files, scores
from db.files import Subject
from db.models import Job, Score, Status
from db.outage import patiently
from prolora.chat import ChatTokenizer
from prolora.dataset import Row
from prolora.plan import Plan
from worker import metrics
from worker.endings import DivergedError
from worker.examples import Example, encode
from worker.generate import MOST_NEW, answers, response_losses
from worker.metrics import Estimate
from worker.work import Work, say

BENCHMARK = "held-out"
HOPELESS = 500.0  # nats a token; its perplexity is no number any more
DIVERGED = (
    "The training diverged: the loss on the held-out rows is not a number any more. "
    "Lower the learning rate and start it again."
)
MARGIN = 16  # tokens an answer may be longer than the longest that was asked for


@dataclass(frozen=True)
class HeldOut:
    """The items, ready for a model: the whole row for the loss, the prompt alone for the answer."""

    examples: list[Example]
    rows: Sequence[Row]
    asked: list[int]  # places of the rows that ask something; plain text has a loss alone
    prompts: list[list[int]]  # of the asked
    golds: list[str]  # what the asked should be answered
    most_new: int
    tokenizer: Tokenizer


def evaluate(work: Work, model: PeftModel, items: HeldOut, adapter_id: int) -> None:
    """Measure adapter and base; the base's numbers are taken over from a twin that has them already."""
    if not items.examples:
        return  # rows with one and the same prompt leave none to hold out; there is no score then
    measure(work, model, items, "adapter", adapter_id)
    if work.kind == "evaluate" or not take_over(work):  # who asks for a new measurement wants no old one
        measure(work, model, items, "base", None)


def prepare(tokenizer: ChatTokenizer, held_out: Sequence[Row], max_length: int) -> tuple[HeldOut, list[Row]]:
    """The items that can be measured, and the rows that cannot: no token of their answer is within the cut-off."""
    encoded_rows = encode(tokenizer, held_out, max_length)
    rows = [row for row, example in zip(held_out, encoded_rows, strict=True) if example.trained]
    items = items_of(tokenizer, rows, [example for example in encoded_rows if example.trained])
    return items, [row for row, example in zip(held_out, encoded_rows, strict=True) if not example.trained]


def items_of(tokenizer: ChatTokenizer, rows: Sequence[Row], examples: list[Example]) -> HeldOut:
    last = {place: last_trained(row) for place, row in enumerate(rows) if row.messages[0]["role"] != "text"}
    golds = [rows[place].messages[turn]["content"] for place, turn in last.items()]
    encoded = tokenizer.tokenizer.encode_batch(golds, add_special_tokens=False)
    longest = max((len(each.ids) for each in encoded), default=0)
    return HeldOut(
        examples=examples,
        rows=rows,
        asked=list(last),
        prompts=[list(tokenizer.prompt(rows[place].messages[:turn])) for place, turn in last.items()],
        golds=golds,
        most_new=min(longest + MARGIN, MOST_NEW),
        tokenizer=tokenizer.tokenizer,
    )


def last_trained(row: Row) -> int:
    """The place of the last answer that is trained: the one to compare with."""
    turns = enumerate(row.messages)
    return max(place for place, turn in turns if turn["role"] == "assistant" and turn.get("weight") != 0)


def measure(work: Work, model: PeftModel, items: HeldOut, subject: Subject, adapter_id: int | None) -> None:
    say(work.lease, f"Evaluating the {subject}")
    model.eval()
    with model.disable_adapter() if subject == "base" else nullcontext():
        losses = response_losses(model, items.examples)
        texts = answers(model, items.tokenizer, items.prompts, items.most_new)
    write_predictions(work, subject, items, texts, losses)
    estimates = judge(items, texts, losses)
    patiently(
        lambda s: scores.record(
            s, work.lease, [row(work, subject, adapter_id, name, e) for name, e in estimates.items()]
        )
    )


def judge(items: HeldOut, texts: Sequence[str], losses: Sequence[float]) -> dict[str, Estimate]:
    pairs = list(zip(texts, items.golds, strict=True))
    loss = metrics.ratio(losses, [example.trained for example in items.examples])
    if not (math.isfinite(loss.high) and loss.high < HOPELESS):
        raise DivergedError(DIVERGED)
    estimates = {"loss": loss, "perplexity": metrics.perplexity(loss)}
    if pairs:
        estimates["exact_match"] = metrics.proportion([metrics.exact_match(*pair) for pair in pairs])
        estimates["token_f1"] = metrics.mean([metrics.token_f1(*pair) for pair in pairs])
    return estimates


def row(work: Work, subject: Subject, adapter_id: int | None, metric: str, estimate: Estimate) -> Score:
    return Score(
        owner_id=work.owner_id,
        job_id=work.lease.job_id,
        adapter_id=adapter_id,
        subject=subject,
        benchmark=BENCHMARK,
        metric=metric,
        value=estimate.value,
        n=estimate.n,
        low=estimate.low,
        high=estimate.high,
        quantization=work.plan.quantization,
    )


def write_predictions(
    work: Work, subject: Subject, items: HeldOut, texts: Sequence[str], losses: Sequence[float]
) -> None:
    said = dict(zip(items.asked, texts, strict=True))
    lines = [
        json.dumps(
            {"line": row.line, "messages": row.messages, "answer": said.get(place), "loss": loss}, ensure_ascii=False
        )
        + "\n"
        for place, (row, loss) in enumerate(zip(items.rows, losses, strict=True))
    ]
    files.predictions(work.lease.job_id, subject).write_text("".join(lines), encoding="utf-8")


def take_over(work: Work) -> bool:
    """Use the base's scores of a run with the same data, base and cut-off: they would come out the same."""
    twin = patiently(lambda s: copy_scores(s, work))
    if twin is None:
        return False
    shutil.copyfile(files.predictions(twin, "base"), files.predictions(work.lease.job_id, "base"))
    return True


def copy_scores(s: Session, work: Work) -> int | None:
    """The job whose scores of the base were taken over, if there is one."""
    twin, found = twin_scores(s, work)
    if twin is not None:
        rows = [row(work, "base", None, o.metric, Estimate(o.value, o.low, o.high, o.n)) for o in found]
        scores.record(s, work.lease, rows)
    return twin


def twin_scores(s: Session, work: Work) -> tuple[int | None, Sequence[Score]]:
    """The newest finished job that measured this base on these rows, and what it found."""
    done = select(Job).where(
        Job.dataset_id == work.dataset_id,
        Job.status == Status.SUCCEEDED,
        Job.owner_id == work.owner_id,
        Job.kind == "train",
    )
    for job in s.scalars(done.order_by(Job.id.desc())):
        if conditions(Plan.from_json(job.plan)) == conditions(work.plan) and files.predictions(job.id, "base").exists():
            return job.id, s.scalars(select(Score).where(Score.job_id == job.id, Score.subject == "base")).all()
    return None, ()


def conditions(plan: Plan) -> tuple[str, str, int]:
    """All of a plan that the base's own scores depend on."""
    return plan.base_model, plan.quantization, plan.max_length
