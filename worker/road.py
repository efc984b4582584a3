"""A job from its rows to its scores."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from db import files
from prolora.base_models import BaseModel, find
from prolora.chat import ChatTokenizer
from prolora.dataset import read_rows, split
from prolora.errors import DatasetError
from worker import base, base_files
from worker.evaluate import evaluate, prepare
from worker.examples import Example, encode
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
    # Both before the wait for the model: a row that teaches nothing is refused at once.
    examples = encode(tokenizer, rows, work.plan.max_length)
    items = prepare(tokenizer, held_out, work.plan.max_length)
    say(work.lease, "Loading the base model")
    frozen = base.load(folder, work.plan.quantization, work.plan.max_length)
    if work.adapter is None:
        model, adapter_id = trained(work, chosen, frozen, examples)
    else:
        model, adapter_id = kept(work.adapter, frozen)
    evaluate(work, model, items, adapter_id)
    shutil.rmtree(files.run_dir(work.lease.job_id), ignore_errors=True)  # the adapter is kept; checkpoints are not


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
    return PeftModel.from_pretrained(frozen, files.adapter_dir(adapter.content_hash)), adapter.id
