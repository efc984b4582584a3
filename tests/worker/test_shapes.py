import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from prolora.base_models import check_folder, find, trainable
from prolora.base_models.architectures import ARCHITECTURES, Config
from prolora.budget import count
from prolora.errors import BaseModelError
from prolora.plan import Setting
from prolora.planner import Facts, suggest
from tests.prolora.test_architectures import CASES, in_the_shapes
from worker import shapes

ROOT = Path(__file__).parents[2]
OPT = {
    "hidden_size": 64,
    "word_embed_proj_dim": 64,
    "ffn_dim": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 32,
}


@pytest.fixture
def opt(tmp_path: Path, data: Path) -> Path:
    """A folder with nothing but a config.json, beside a data folder."""
    folder = tmp_path / "opt"
    AutoConfig.for_model("opt", **OPT, architectures=["OPTForCausalLM"]).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "fields"), CASES[::4], ids=[kind for kind, _ in CASES[::4]])
def test_counting_on_the_model_agrees_with_the_table(kind: str, fields: dict) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields))
    counted = shapes.shapes_of(model)
    known = ARCHITECTURES[type(model).__name__](Config(fields, "config.json"))
    assert in_the_shapes(counted) == in_the_shapes(known)
    assert bool(counted.note) == bool(known.note)
    for field in ("layers", "hidden", "base_parameters", "vocabulary", "heads"):
        assert getattr(counted, field) == getattr(known, field)


def test_a_model_that_is_not_in_the_table_is_counted_once_and_planned_for_without_torch(opt: Path) -> None:
    with pytest.raises(BaseModelError, match=r"OPTForCausalLM, which is not known here.*worker\.shapes"):
        find(str(opt))
    stored = shapes.store(opt)
    base = find(str(stored))
    assert base.architecture == "OPTForCausalLM"
    assert base.shapes.modules == ("k_proj", "v_proj", "q_proj", "out_proj", "fc1", "fc2")
    assert count(Setting.lora(1), base.shapes) == 2 * (4 * 128 + 2 * 160)
    assert suggest(Facts(base.shapes, 4 * base.shapes.lora_unit())).prolora
    written = stored.stat().st_mtime_ns
    assert shapes.store(opt) == stored
    assert stored.stat().st_mtime_ns == written


def test_a_model_without_attention_is_counted_too(tmp_path: Path, data: Path) -> None:
    fields = {"hidden_size": 32, "state_size": 4, "num_hidden_layers": 2, "vocab_size": 50, "time_step_rank": 3}
    AutoConfig.for_model("mamba", **fields).save_pretrained(tmp_path / "mamba")
    found = find(str(shapes.store(tmp_path / "mamba")))
    assert (found.shapes.heads, found.shapes.layers) == (1, 2)
    assert set(found.shapes.modules) == {"in_proj", "x_proj", "dt_proj", "out_proj"}


def test_torchs_own_attention_is_not_counted_since_no_adapter_can_be_put_before_it() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("opt", **OPT))
        before = shapes.shapes_of(model).linears
        model.model.decoder.pooler = torch.nn.MultiheadAttention(64, 4)
    assert isinstance(model.model.decoder.pooler.out_proj, torch.nn.Linear)
    assert shapes.shapes_of(model).linears == before


def test_the_studio_trains_no_model_that_it_can_only_count(opt: Path) -> None:
    with pytest.raises(BaseModelError, match="OPTForCausalLM; the studio trains"):
        trainable(str(shapes.store(opt)))
    with pytest.raises(BaseModelError, match="not known here"):
        check_folder(opt)


def test_the_command_says_how_to_plan(opt: Path) -> None:
    command = [sys.executable, "-m", "worker.shapes", str(opt)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"prolora plan --model {shapes.store(opt)}" in done.stdout


def test_code_of_the_folder_is_never_run(opt: Path) -> None:
    config = json.loads((opt / "config.json").read_text())
    config |= {
        "model_type": "foreign",
        "auto_map": {"AutoConfig": "code.Foreign", "AutoModelForCausalLM": "code.Model"},
    }
    (opt / "config.json").write_text(json.dumps(config))
    (opt / "code.py").write_text("raise SystemExit('this ran')")
    with pytest.raises(BaseModelError, match="without code of its own"):
        shapes.count(opt)


def counted(**changes: Any) -> str:
    """A file of counted shapes that would be one but for the changes."""
    linears = [{"name": "q_proj", "inputs": 64, "outputs": 64, "count": 2}]
    fields = {"layers": 2, "hidden": 64, "linears": linears, "base_parameters": 10**6, "vocabulary": 100, "heads": 2}
    return json.dumps({"architecture": "X", "shapes": fields | changes})


def test_a_file_of_counted_shapes_without_a_note_is_read(tmp_path: Path) -> None:
    (tmp_path / "shapes.json").write_text(counted())
    assert find(str(tmp_path / "shapes.json")).shapes.base_parameters == 10**6


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"architecture": "X", "shapes": {}}',
        '{"architecture": "X", "shapes": {"layers": true, "hidden": 1, "linears": [], "base_parameters": 1}}',
        '{"architecture": "X", "shapes": {"layers": 1, "hidden": 1, "linears": [{"name": "a"}], "base_parameters": 1}}',
        "[" * 200_000,
        counted(linears=[]),
        counted(note=5),
        counted(base_parameters=10**30),
        counted(linears=[{"name": ["q_proj"], "inputs": 64, "outputs": 64, "count": 2}]),
    ],
)
def test_a_file_that_holds_no_counted_shapes_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "shapes.json").write_text(content)
    with pytest.raises(BaseModelError, match="does not hold the counted shapes"):
        find(str(tmp_path / "shapes.json"))


def test_a_folder_without_a_model_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"no config\.json"):
        shapes.store(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(BaseModelError, match="No causal language model"):
        shapes.count(tmp_path)
