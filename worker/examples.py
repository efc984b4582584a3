"""Rows as the model meets them: ids, labels and padded batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from prolora.chat import ChatTokenizer
from prolora.dataset import Row
from prolora.errors import DatasetError

IGNORED = -100  # the label that the loss leaves out


@dataclass(frozen=True)
class Example:
    ids: list[int]
    labels: list[int]

    @property
    def trained(self) -> int:
        """Tokens the loss sees; the first token is predicted from nothing and never counts."""
        return sum(label != IGNORED for label in self.labels[1:])


def encode(tokenizer: ChatTokenizer, rows: Sequence[Row], max_length: int) -> list[Example]:
    """One example a row; a row whose prompt alone fills the cut-off has no trained token in it."""
    return [encode_row(tokenizer, row, max_length) for row in rows]


def encode_row(tokenizer: ChatTokenizer, row: Row, max_length: int) -> Example:
    encoded = tokenizer.encode(row.messages, max_length)
    labels = [token if trained else IGNORED for token, trained in zip(encoded.ids, encoded.mask, strict=True)]
    return Example(list(encoded.ids), labels)


def teaching(tokenizer: ChatTokenizer, rows: Sequence[Row], max_length: int) -> tuple[list[Example], list[Row]]:
    """The examples that have something to learn in them, and the rows left out because they have not.

    Raises DatasetError when none teaches anything.
    """
    examples = encode(tokenizer, rows, max_length)
    left_out = [row for row, example in zip(rows, examples, strict=True) if not example.trained]
    if len(left_out) == len(rows):
        raise DatasetError(
            f"No row would teach anything: every prompt alone fills the cut-off of {max_length} tokens. "
            "Raise the cut-off and start again."
        )
    return [example for example in examples if example.trained], left_out


def batch(examples: Sequence[Example], filler: int) -> dict[str, torch.Tensor]:
    """Pad on the right to the longest."""
    width = max(len(example.ids) for example in examples)
    gaps = [width - len(example.ids) for example in examples]
    return {
        "input_ids": torch.tensor([e.ids + [filler] * gap for e, gap in zip(examples, gaps, strict=True)]),
        "attention_mask": torch.tensor([[1] * len(e.ids) + [0] * gap for e, gap in zip(examples, gaps, strict=True)]),
        "labels": torch.tensor([e.labels + [IGNORED] * gap for e, gap in zip(examples, gaps, strict=True)]),
    }
