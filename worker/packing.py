"""Several rows one behind the other in a line, each seeing only itself."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from prolora.errors import BaseModelError
from worker.examples import IGNORED, Example

LENGTH = 8  # tokens of each row of the probe
MIXES = (
    "This base model lets packed rows see one another, so they cannot be trained in one line. Turn packing off and "
    "start again."
)


def packed(examples: Sequence[Example], filler: int, width: int) -> dict[str, torch.Tensor]:
    """In as few lines of at most `width` tokens as found; each row's positions begin anew.

    Without an attention mask transformers takes a fall in the positions for the border of two rows and masks them
    from one another. What fills a line up is a row of its own that teaches nothing.
    """
    lines = bins([len(example.ids) for example in examples], width)
    longest = max(sum(len(examples[i].ids) for i in line) for line in lines)
    return {
        "input_ids": torch.tensor([filled([examples[i].ids for i in line], longest, filler) for line in lines]),
        "labels": torch.tensor([filled([labels(examples[i]) for i in line], longest, IGNORED) for line in lines]),
        "position_ids": torch.tensor([positions([len(examples[i].ids) for i in line], longest) for line in lines]),
    }


def bins(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Whole rows into lines, the longest first, each into the fullest line that has room for it."""
    lines: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fits = [line for line in range(len(lines)) if room[line] >= lengths[index]]
        if fits:
            line = min(fits, key=lambda i: room[i])
        else:
            line = len(lines)
            lines.append([])
            room.append(max(width, lengths[index]))
        lines[line].append(index)
        room[line] -= lengths[index]
    return lines


def labels(example: Example) -> list[int]:
    """A row's first token is not for the row before it to predict."""
    return [IGNORED, *example.labels[1:]]


def filled(rows: Sequence[list[int]], width: int, filler: int) -> list[int]:
    line = [token for row in rows for token in row]
    return line + [filler] * (width - len(line))


def positions(lengths: Sequence[int], width: int) -> list[int]:
    rest = width - sum(lengths)
    return [place for length in (*lengths, rest) for place in range(length)]


def check_separates(model: PreTrainedModel) -> None:
    """Raise for a model in which a row changes with what stands before it in its line."""
    words = torch.arange(LENGTH, device=model.device)
    places = words.repeat(1, 2)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        one, other = (
            model(input_ids=torch.cat([before, words])[None], position_ids=places, use_cache=False).logits[0, LENGTH:]
            for before in (words, words.flip(0))
        )
    model.train(was_training)
    # Not to the bit: which rows share a matrix product may change the last of them.
    if not torch.allclose(one, other, rtol=0, atol=0.01 * one.abs().max().item()):
        raise BaseModelError(MIXES)
