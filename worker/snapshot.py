"""All of a training that its next step depends on, as tensors and JSON: nothing that can run code when it is read."""

import dataclasses
import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather  # type: ignore[import-untyped]
from torch import Tensor, nn
from transformers import Trainer

Tensors = dict[str, Tensor]
PYTHON_RANDOM, NUMPY_RANDOM = 3, "MT19937"  # the only forms of these states that there are


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds, by the names of its files: tensors for safetensors, the rest for JSON."""

    tensors: dict[str, Tensors]
    facts: dict[str, dict[str, Any]]

    @property
    def size(self) -> int:
        """Bytes on the disk, but for headers and what JSON says."""
        return sum(tensor.nbytes for group in self.tensors.values() for tensor in group.values())


def capture(trainer: Trainer, more: Tensors, told: dict[str, Any]) -> Snapshot:
    """Called by every process of a run, since each has a random state of its own."""
    state = trainer.optimizer.state_dict()
    moments = {f"{place}.{name}": value for place, of in state["state"].items() for name, value in of.items()}
    steps = {"groups": state["param_groups"], "scheduler": trainer.lr_scheduler.state_dict(), **told}
    return Snapshot(
        tensors={
            "adapter": weights(trainer.model),
            "optimizer": moments,
            "random": gather({name: value.to(trainer.args.device) for name, value in random_state().items()}),
            **({"best": more} if more else {}),
        },
        facts={"steps": steps, "trainer_state": dataclasses.asdict(trainer.state)},
    )


def weights(model: nn.Module) -> Tensors:
    """What is trained, by name."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def put_back(model: nn.Module, saved: Tensors) -> None:
    trained = weights(model)
    if trained.keys() != saved.keys():
        raise ValueError("The checkpoint is of an adapter with other parameters.")
    for name, parameter in trained.items():
        parameter.copy_(saved[name])


def put_back_optimizer(optimizer: torch.optim.Optimizer, moments: Tensors, groups: list[dict[str, Any]]) -> None:
    state: dict[int, Tensors] = {}
    for key, value in moments.items():
        place, name = key.split(".")
        state.setdefault(int(place), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def random_state() -> Tensors:
    """Of Python, numpy and torch in this process; a row each, so that those of several processes can be stacked."""
    _, words, gauss = random.getstate()
    numbers: dict[str, Any] = np.random.get_state(legacy=False)
    rows = {
        "python": torch.tensor(words, dtype=torch.int64),
        "python_gauss": torch.tensor([math.nan if gauss is None else gauss], dtype=torch.float64),
        "numpy": torch.tensor(
            [*numbers["state"]["key"].tolist(), numbers["state"]["pos"], numbers["has_gauss"]], dtype=torch.int64
        ),
        "numpy_gauss": torch.tensor([numbers["gauss"]], dtype=torch.float64),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        rows["cuda"] = torch.cuda.get_rng_state()
    return {name: row.unsqueeze(0) for name, row in rows.items()}


def put_back_random(saved: Tensors, rank: int) -> None:
    """A run that goes on in more processes than it had gives some the same state; nothing but dropout sees it."""
    rows = {name: stacked[rank % len(stacked)].cpu() for name, stacked in saved.items()}
    gauss = rows["python_gauss"].item()
    random.setstate((PYTHON_RANDOM, tuple(rows["python"].tolist()), None if math.isnan(gauss) else gauss))
    *keys, place, has_gauss = rows["numpy"].tolist()
    np.random.set_state((NUMPY_RANDOM, np.array(keys, dtype=np.uint32), place, has_gauss, rows["numpy_gauss"].item()))
    torch.random.set_rng_state(rows["cpu"])
    if "cuda" in rows and torch.cuda.is_available():
        torch.cuda.set_rng_state(rows["cuda"])
