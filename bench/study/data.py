"""The rows of the study: GSM8K's questions with their worked answers, short enough for the demo base."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from prolora.base_models import DEMO
from prolora.chat import ChatTokenizer
from prolora.dataset import Choices, Mapping, read
from worker.examples import Example, encode_row

FIELDS = {"instruction": "question", "output": "answer"}
LONGEST = 256  # tokens, so that no answer is cut
TRAIN, VALIDATION, TEST = 500, 200, 300


@dataclass(frozen=True)
class Tasks:
    train: tuple[Example, ...]
    validation: tuple[Example, ...]  # of the file that trains, for learning rates alone
    test: tuple[Example, ...]  # of the other file, for what is reported
    content_hash: str


@cache
def tasks(folder: Path) -> Tasks:
    """From GSM8K's own train.jsonl and test.jsonl; the same rows in the same order each time."""
    learn, unseen = _short(folder / "train.jsonl", TRAIN + VALIDATION), _short(folder / "test.jsonl", TEST)
    ids = repr([example.ids for example in (*learn, *unseen)])
    content_hash = hashlib.sha256(ids.encode()).hexdigest()[:16]
    return Tasks(learn[:TRAIN], learn[TRAIN:], unseen, content_hash)


def _short(path: Path, rows: int) -> tuple[Example, ...]:
    tokenizer = ChatTokenizer(DEMO)
    found: list[Example] = []
    for row in read(path, Choices(Mapping("alpaca", FIELDS))).rows:
        example = encode_row(tokenizer, row, LONGEST + 1)
        if len(example.ids) <= LONGEST:
            found.append(example)
        if len(found) == rows:
            return tuple(found)
    raise ValueError(f"{path} has {len(found)} rows of at most {LONGEST} tokens; the study needs {rows}.")
