"""A job from its rows to its scores."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from db import files, jobs
from db.session import session
from prolora.base_models import BaseModel, find
from prolora.chat import ChatTokenizer
from prolora.dataset import Row, read_rows, split
from prolora.errors import DatasetError
from worker import base, base_files, serve
from worker.evaluate import evaluate, prepare
from worker.examples import Example, teaching
from worker.keep import keep
from worker.train import attach, train
from worker.work import KeptAdapter, Work, say


def travel(work: Work) -> None:
    """Train, keep and measure; an adapter that an earlier attempt has kept is only measured."""
    rows, held_out = split(read_rows(files.dataset_rows(work.dataset_hash)))
    chosen = find(work.plan.base_model)
    if not chosen.local:
        say(work.lease, "Fetching the base model")
    folder = base_files.folder(chosen)
    tokenizer = load_tokenizer(work, folder)
    if not rows:
        raise DatasetError("The dataset has no row to train on. Upload one with more rows.")
    # Before the wait for the model: rows that teach nothing are told at once.
    examples, left_out = teaching(tokenizer, rows, work.plan.max_length)
    items, unmeasured = prepare(tokenizer, held_out, work.plan.max_length)
    tell_left_out(work, [*left_out, *unmeasured], len(rows) + len(held_out))
    say(work.lease, "Loading the base model")
    frozen = base.load(folder, work.plan.quantization, work.plan.max_length)
    if work.adapter is None:
        model, adapter_id = trained(work, chosen, frozen, examples)
    else:
        model, adapter_id = kept(work.adapter, frozen)
    evaluate(work, model, items, adapter_id)
    shutil.rmtree(files.run_dir(work.lease.job_id), ignore_errors=True)  # the adapter is kept; checkpoints are not


def tell_left_out(work: Work, left_out: Sequence[Row], of: int) -> None:
    if left_out:
        first = min(row.line for row in left_out)
        note = (
            f"{len(left_out)} of {of} rows were left out, the first on line {first}: their prompts alone fill the "
            f"cut-off of {work.plan.max_length} tokens. Raise the cut-off to use them."
        )
        with session() as s:
            jobs.progress(s, work.lease, note=note)


def load_tokenizer(work: Work, folder: Path) -> ChatTokenizer:
    converted = files.run_dir(work.lease.job_id) / "tokenizer"
    return ChatTokenizer(base_files.tokenizer_folder(folder, converted))


def trained(
    work: Work, chosen: BaseModel, frozen: PreTrainedModel, examples: Sequence[Example]
) -> tuple[PeftModel, int]:
    model = attach(frozen, work.plan)
    train(work, model, examples)
    return model, keep(work, model, chosen)


def kept(adapter: KeptAdapter, frozen: PreTrainedModel) -> tuple[PeftModel, int]:
    serve.publish_all()  # the earlier attempt may have died before it could
    return PeftModel.from_pretrained(frozen, files.adapter_dir(adapter.content_hash)), adapter.id
