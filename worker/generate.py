"""Greedy answers and response losses of a model, many items at a time."""

import math
from collections.abc import Iterator, Sequence

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from worker.base import pad
from worker.examples import IGNORED, Example, batch

LOSS_TOKENS = 4096  # padded tokens of one forward: the logits are the memory
ANSWER_TOKENS = 16384
MOST_NEW = 512


def groups(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Item numbers in batches of like length whose padded size keeps the budget."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if group and lengths[index] * (len(group) + 1) > budget:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


@torch.inference_mode()
def response_losses(model: PreTrainedModel, examples: Sequence[Example]) -> list[float]:
    """The summed negative log-likelihood of each item's trained tokens."""
    sums = [math.nan] * len(examples)
    for group in groups([len(example.ids) for example in examples], LOSS_TOKENS):
        inputs = {name: t.to(model.device) for name, t in batch([examples[i] for i in group], pad(model)).items()}
        labels = inputs.pop("labels")[:, 1:]
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            logits = model(**inputs).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
        )
        for index, loss in zip(group, losses.sum(dim=1).tolist(), strict=True):
            sums[index] = loss
    return sums


@torch.inference_mode()
def answers(model: PreTrainedModel, tokenizer: Tokenizer, prompts: Sequence[list[int]], most_new: int) -> list[str]:
    """What the model says to each prompt, greedily, up to its end-of-turn token."""
    texts = [""] * len(prompts)
    for group in groups([len(prompt) + most_new for prompt in prompts], ANSWER_TOKENS):
        inputs = {name: t.to(model.device) for name, t in pad_left([prompts[i] for i in group], pad(model)).items()}
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            output = model.generate(
                **inputs, do_sample=False, max_new_tokens=most_new, pad_token_id=pad(model), use_cache=True
            )
        for index, ids in zip(group, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            texts[index] = tokenizer.decode(ids, skip_special_tokens=True)
    return texts


def pad_left(prompts: Sequence[list[int]], filler: int) -> dict[str, torch.Tensor]:
    width = max(map(len, prompts))
    return {
        "input_ids": torch.tensor([[filler] * (width - len(p)) + p for p in prompts]),
        "attention_mask": torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
    }
