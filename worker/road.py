"""A job from its rows to its scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from db import files
from prolora.base_models import BaseModel, find
from prolora.chat import ChatTokenizer
from prolora.dataset import Row, read_rows, split
from prolora.dataset.records import SHARE
from prolora.errors import DatasetError
from prolora.plan import Plan
from worker import base, base_files, checkpoints, ranks, record, serve
from worker.evaluate import evaluate, prepare
from worker.examples import Example, encode, teaching
from worker.keep import keep
from worker.memory import Memory
from worker.progress import note
from worker.train import attach, train
from worker.work import KeptAdapter, Work, say


@dataclass(frozen=True)
class Lesson:
    """What a run learns from, and what it is watched on meanwhile."""

    examples: list[Example]
    validation: list[Example]
    left_out: list[Row]  # for want of room


def travel(work: Work) -> None:
    """Train, keep and measure; an adapter that an earlier attempt has kept is only measured.

    Several processes train together; the first of them does all else alone.
    """
    memory = Memory()
    if work.adapter and not ranks.leads():
        return
    rows, held_out = split(read_rows(files.dataset_rows(work.dataset_hash)))
    chosen = find(work.plan.base_model)
    with ranks.processes().main_process_first():  # which fetches and converts for all
        folder = fetch(work, chosen)
        tokenizer = load_tokenizer(work, folder)
    if not rows:
        raise DatasetError("The dataset has no row to train on. Upload one with more rows.")
    # Before the wait for the model: rows that teach nothing are told at once.
    lesson = lesson_of(work.plan, tokenizer, rows)
    items, unmeasured = prepare(tokenizer, held_out, work.plan.max_length)
    if ranks.leads():
        tell_left_out(work, [*lesson.left_out, *unmeasured], len(rows) + len(held_out))
        say(work.lease, "Loading the base model")
    frozen = base.load(folder, work.plan.quantization, work.plan.max_length)
    if work.adapter is None:
        model = attach(frozen, work.plan)
        train(work, model, lesson.examples, lesson.validation, memory)
        if not ranks.leads():
            return
        adapter_id = keep(work, model, chosen)
    else:
        model, adapter_id = kept(work.adapter, frozen)
    evaluate(work, model, items, adapter_id)
    checkpoints.clear(work.lease)


def fetch(work: Work, chosen: BaseModel) -> Path:
    if not ranks.leads():
        return base_files.folder(chosen)
    if not chosen.local:
        say(work.lease, "Fetching the base model")
    folder = base_files.folder(chosen)
    record.note_inputs(work, chosen, folder)
    return folder


def lesson_of(plan: Plan, tokenizer: ChatTokenizer, rows: Sequence[Row]) -> Lesson:
    """A part of the training rows, drawn by lot as the held-out ones were, is for watching when the plan says so."""
    share = SHARE + plan.validation_share * (1 - SHARE)  # the lots under SHARE are held out already
    learnt, watched = split(rows, share) if plan.validation_share else (rows, ())
    examples, left_out = teaching(tokenizer, learnt, plan.max_length)
    watched_examples = encode(tokenizer, watched, plan.max_length)
    unwatched = [row for row, example in zip(watched, watched_examples, strict=True) if not example.trained]
    return Lesson(examples, [example for example in watched_examples if example.trained], [*left_out, *unwatched])


def tell_left_out(work: Work, left_out: Sequence[Row], of: int) -> None:
    if left_out:
        first = min(row.line for row in left_out)
        note(
            work.lease,
            f"{len(left_out)} of {of} rows were left out, the first on line {first}: their prompts alone fill the "
            f"cut-off of {work.plan.max_length} tokens. Raise the cut-off to use them.",
        )


def load_tokenizer(work: Work, folder: Path) -> ChatTokenizer:
    converted = files.run_dir(work.lease.job_id) / "tokenizer"
    return ChatTokenizer(base_files.tokenizer_folder(folder, converted))


def kept(adapter: KeptAdapter, frozen: PreTrainedModel) -> tuple[PeftModel, int]:
    serve.publish_all()  # the earlier attempt may have died before it could
    return PeftModel.from_pretrained(frozen, files.adapter_dir(adapter.content_hash)), adapter.id
