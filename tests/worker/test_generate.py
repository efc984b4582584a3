from pathlib import Path

import pytest
import torch

from prolora.chat import ChatTokenizer
from tests.worker.conftest import rows_of
from worker import base
from worker.examples import IGNORED, encode
from worker.generate import answers, groups, response_losses


def test_batches_hold_every_item_once_and_keep_the_budget() -> None:
    lengths = [5, 90, 7, 30, 30, 200]
    found = list(groups(lengths, 100))
    assert sorted(i for group in found for i in group) == list(range(6))
    assert all(len(group) == 1 or max(lengths[i] for i in group) * len(group) <= 100 for group in found)


def test_batched_losses_are_those_of_each_row_alone(tiny_base: Path) -> None:
    model = base.load(tiny_base, "none", 128).eval()
    examples = encode(ChatTokenizer(tiny_base), rows_of([("a", "yes"), ("a longer question", "no, never")]), 128)
    alone = []
    for example in examples:
        loss = model(torch.tensor([example.ids]), labels=torch.tensor([example.labels])).loss
        alone.append(loss.item() * sum(label != IGNORED for label in example.labels))
    assert response_losses(model, examples) == pytest.approx(alone, rel=2e-2)  # bfloat16


def test_answers_of_a_padded_batch_are_those_of_each_prompt_alone(tiny_base: Path) -> None:
    model = base.load(tiny_base, "none", 128).eval().float()
    tokenizer = ChatTokenizer(tiny_base)
    prompts = [list(tokenizer.prompt([{"role": "user", "content": text}])) for text in ("a", "a longer question")]
    together = answers(model, tokenizer.tokenizer, prompts, 6)
    assert together == [answers(model, tokenizer.tokenizer, [prompt], 6)[0] for prompt in prompts]
    assert any(together)
