import json
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from prolora.adapter_file import AdapterError
from prolora.export import content_hash, to_lora
from prolora.peft import ProloraConfig, ProloraLinear
from tests.prolora.conftest import Load

TOKENS = torch.arange(20).view(2, 10)


@pytest.fixture(params=[(8, 1, 7, 7), (8, 0, 4, 4), (4, 4, 1, 1), (12, 2, 3, 5)], ids=str)
def trained(request: pytest.FixtureRequest, load: Load, tmp_path: Path) -> tuple[Any, Path]:
    """A model with an adapter that has an effect, and where that adapter is saved."""
    setting = dict(zip("rumn", request.param, strict=True))
    model = get_peft_model(load(), ProloraConfig(**setting, init_weights=False, task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "adapter")
    return model, tmp_path / "adapter"


def test_the_factors_are_the_same_bits(trained: tuple[Any, Path], tmp_path: Path) -> None:
    model, source = trained
    tensors = load_file(to_lora(source, tmp_path / "lora") / "adapter_model.safetensors")
    layers = {name: module for name, module in model.named_modules() if isinstance(module, ProloraLinear)}
    assert len(tensors) == 2 * len(layers)
    for name, layer in layers.items():
        assert torch.equal(tensors[f"{name}.lora_A.weight"], layer.factor_a("default"))
        assert torch.equal(tensors[f"{name}.lora_B.weight"], layer.factor_b("default"))


def test_plain_peft_gives_the_same_answers(trained: tuple[Any, Path], load: Load, tmp_path: Path) -> None:
    model, source = trained
    exported = PeftModel.from_pretrained(load(), to_lora(source, tmp_path / "lora"))
    assert type(exported.peft_config["default"]) is LoraConfig
    with torch.no_grad():
        expected, found, base = model(TOKENS).logits, exported(TOKENS).logits, load()(TOKENS).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (expected - base).abs().max() > 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"rotate": False, "use_rslora": True},
        {"share_along": "rank"},
        {"rotate_along": "hidden"},
        {"share_along": "rank", "rotate_along": "hidden"},
        {"setting_pattern": {"q_proj": {"r": 16, "u": 4}, "layers.1.mlp.up_proj": {"m": 2}}},
        {"alpha_pattern": {"down_proj": 3}},
        {"scale_unshared": True},
    ],
    ids=str,
)
def test_every_option_exports_as_it_is(load: Load, tmp_path: Path, options: dict[str, Any]) -> None:
    model = get_peft_model(load(), ProloraConfig(r=8, u=2, m=3, n=3, init_weights=False, **options))
    for name, parameter in model.named_parameters():
        if "prolora_scale_u" in name:
            parameter.data.uniform_(0.5, 2)
    model.save_pretrained(tmp_path / "adapter")
    exported = PeftModel.from_pretrained(load(), to_lora(tmp_path / "adapter", tmp_path / "lora"))
    with torch.no_grad():
        torch.testing.assert_close(exported(TOKENS).logits, model(TOKENS).logits, rtol=1e-4, atol=1e-4)


def test_a_plain_lora_passes_unchanged(load: Load, tmp_path: Path) -> None:
    get_peft_model(load(), LoraConfig(r=4, target_modules=["q_proj"])).save_pretrained(tmp_path / "plain")
    to_lora(tmp_path / "plain", tmp_path / "copy")
    assert content_hash(tmp_path / "copy") == content_hash(tmp_path / "plain")


def test_everyone_may_read_what_is_written(trained: tuple[Any, Path], tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    reference.touch()
    folder = to_lora(trained[1], tmp_path / "lora")
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(reference.stat().st_mode)


def test_nothing_is_written_over(trained: tuple[Any, Path], tmp_path: Path) -> None:
    to_lora(trained[1], tmp_path / "lora")
    with pytest.raises(AdapterError, match="exists already"):
        to_lora(trained[1], tmp_path / "lora")


def rewrite(source: Path, **changes: Any) -> None:
    file = source / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_the_content_hash_follows_the_content_not_the_place(trained: tuple[Any, Path], tmp_path: Path) -> None:
    source, before = trained[1], content_hash(trained[1])
    moved = source.rename(tmp_path / "elsewhere")
    assert content_hash(moved) == before
    rewrite(moved, lora_alpha=17)
    assert content_hash(moved) != before


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "adapter_config.json").unlink(), "no readable adapter_config.json"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "not JSON"),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), "neither PROLORA nor LORA"),
        (lambda folder: rewrite(folder, peft_type="MISS"), "type MISS"),
        (lambda folder: rewrite(folder, u=None), "u must be a whole number"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"torn"), "is torn"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "cannot be read"),
        (lambda folder: rewrite(folder, m=4), "asks for"),
        (lambda folder: rewrite(folder, n=4), "asks for"),
    ],
)
def test_a_spoilt_adapter_is_refused_and_leaves_nothing(load: Load, tmp_path: Path, spoil: Any, words: str) -> None:
    source = tmp_path / "adapter"
    get_peft_model(load(), ProloraConfig(r=8, u=1, m=3, n=3)).save_pretrained(source)
    spoil(source)
    (tmp_path / "out").mkdir()
    with pytest.raises(AdapterError, match=words):
        to_lora(source, tmp_path / "out" / "lora")
    assert not list((tmp_path / "out").iterdir())


def test_patterns_keep_their_order_from_file_to_file_since_the_first_counts(tmp_path: Path) -> None:
    patterns = {"v_proj": 3.0, "up_proj": 5.0, ".*_proj": 9.0}
    settings = {"v_proj": {"r": 8}, ".*_proj": {"r": 4, "u": 0}}
    config = ProloraConfig(r=8, u=1, m=2, n=2, alpha_pattern=patterns, setting_pattern=settings)
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert list(saved["alpha_pattern"].items()) == list(patterns.items())
    assert list(saved["setting_pattern"].items()) == list(settings.items())
    shapes = {"A_u": (1, 6), "A_0": (7, 3), "B_u": (4, 1), "B_0": (2, 7)}
    tensors = {f"v_proj.prolora_{part}": torch.ones(shape) for part, shape in shapes.items()}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    exported = json.loads((to_lora(tmp_path, tmp_path / "lora") / "adapter_config.json").read_text())
    assert list(exported["alpha_pattern"].items()) == list(patterns.items())
    assert list(exported["rank_pattern"].items()) == [("v_proj", 8), (".*_proj", 4)]
