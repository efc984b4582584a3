"""What changes how a batch is computed changes nothing of what is computed."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from prolora.errors import BaseModelError, PlanError
from prolora.plan import Plan
from tests.prolora.test_architectures import MANY_HEADS
from tests.worker.conftest import PROLORA
from tests.worker.in_float32 import losses
from worker import base
from worker.examples import IGNORED, Example, batch
from worker.launch import TORCHRUN
from worker.packing import bins, check_separates, packed


def plan(**changes: Any) -> Plan:
    return Plan("prolora", PROLORA, "x", epochs=1.2, batch_size=8, max_length=256, learning_rate=1e-2, **changes)


@pytest.fixture(scope="module")
def plain(tiny_base: Path) -> list[float]:
    return losses(tiny_base, plan())


@pytest.mark.parametrize("changes", [{"packing": True}, {"accumulation": 2}, {"gradient_checkpointing": True}])
def test_losses_and_gradients_are_those_of_a_padded_batch_in_one_piece(
    tiny_base: Path, plain: list[float], changes: dict[str, Any]
) -> None:
    assert len(plain) == 2 * 8  # and a second epoch was begun
    assert losses(tiny_base, plan(**changes)) == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize("changes", [{}, {"packing": True, "accumulation": 2}])
def test_two_processes_have_the_losses_of_one(tiny_base: Path, plain: list[float], changes: dict[str, Any]) -> None:
    line = [sys.executable, *TORCHRUN, "2", "-m", "tests.worker.in_float32", str(tiny_base)]
    ended = subprocess.run([*line, json.dumps(plan(**changes).to_json())], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout.splitlines()[-1]) == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize("kind", MANY_HEADS)
def test_every_architecture_that_the_studio_trains_keeps_packed_rows_apart(kind: str) -> None:
    fields = MANY_HEADS[kind] | {"num_attention_heads": 4, "eos_token_id": 1, "bos_token_id": 1}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields), attn_implementation="sdpa").eval()
    model.config.use_cache = False
    check_separates(model)
    examples = [Example([*range(3, 3 + length)], [*range(3, 3 + length)]) for length in (5, 9, 7, 4)]
    with torch.inference_mode():
        padded, in_lines = (
            model(**rows, num_items_in_batch=torch.tensor(21)).loss
            for rows in (batch(examples, 0), packed(examples, 0, 16))
        )
    assert in_lines.item() == pytest.approx(padded.item(), abs=1e-5)


def test_a_batch_that_cannot_be_dealt_evenly_is_refused() -> None:
    assert plan(accumulation=2).rows_at_once(devices=4) == 1
    with pytest.raises(PlanError, match="8 rows cannot be computed in 3 passes on 1 devices"):
        plan(accumulation=3)
    with pytest.raises(PlanError, match="in 1 passes on 3 devices"):
        plan().rows_at_once(devices=3)


def test_lines_are_filled_with_whole_rows() -> None:
    assert bins([3, 9, 4, 1, 7], width=10) == [[1, 3], [4, 0], [2]]
    assert bins([12, 1], width=10) == [[0], [1]]


def test_a_row_in_a_line_begins_at_place_0_and_is_predicted_by_itself_alone() -> None:
    lines = packed([Example([5, 6, 7], [5, 6, 7]), Example([8, 9], [IGNORED, 9])], filler=0, width=8)
    assert lines["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert lines["labels"].tolist() == [[IGNORED, 6, 7, IGNORED, 9]]
    assert lines["position_ids"].tolist() == [[0, 1, 2, 0, 1]]


class Mixing(nn.Module):
    """Each token hears of all before it in its line."""

    device = torch.device("cpu")

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        weights = 1.0 + torch.arange(input_ids.shape[1])
        return SimpleNamespace(logits=(weights * input_ids).cumsum(1)[..., None])


def test_a_model_that_mixes_packed_rows_is_refused(tiny_base: Path) -> None:
    with pytest.raises(BaseModelError, match="Turn packing off"):
        check_separates(Mixing())
    for length in (256, 1024):  # eager attention, and torch's own
        check_separates(base.load(tiny_base, "nf4", length))
