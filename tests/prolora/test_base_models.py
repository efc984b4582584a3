import json
from pathlib import Path

import pytest

from prolora.base_models import CATALOGUE, DEMO, check_folder, find
from prolora.errors import BaseModelError

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 300,
    "tie_word_embeddings": True,
}
HEADER = b'{"__metadata__":{}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "layers", "unit", "parameters"),
    [
        ("llama-2-7b", 32, 2_498_560, 6_738_415_616),
        ("llama-2-13b", 40, 3_911_680, 13_015_864_320),
        ("llama-2-70b", 80, 12_943_360, 68_976_648_192),
        ("demo", 4, 19_456, 3_410_176),
    ],
)
def test_the_catalogue_has_the_true_shapes(name: str, layers: int, unit: int, parameters: int) -> None:
    shapes = find(name).shapes
    assert (shapes.layers, shapes.lora_unit(), shapes.base_parameters) == (layers, unit, parameters)


def test_the_catalogue_begins_with_the_demo() -> None:
    assert [base.name for base in CATALOGUE] == ["demo", "llama-2-7b", "llama-2-13b", "llama-2-70b"]
    assert CATALOGUE[0].local


def test_the_demo_in_the_catalogue_is_the_one_in_static() -> None:
    assert check_folder(DEMO) == find("demo").shapes


def test_a_folder_with_a_llama_is_a_base_model(folder: Path) -> None:
    base = find(str(folder))
    assert (base.name, base.source, base.local) == (str(folder), str(folder), True)
    key = next(linear for linear in base.shapes.linears if linear.name == "k_proj")
    assert (key.inputs, key.outputs) == (64, 32)


def test_weights_in_several_files_are_found(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1-of-1.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model-1-of-1.safetensors"}}')
    assert find(str(folder)).local
    (folder / "model-1-of-1.safetensors").unlink()
    with pytest.raises(BaseModelError, match=r"model-1-of-1.* is missing"):
        find(str(folder))


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("config.json", None, "no config.json"),
        ("config.json", b"{", "cannot be read as JSON"),
        ("config.json", b"[]", "JSON object"),
        ("config.json", b"{}", "LlamaForCausalLM only"),
        ("config.json", json.dumps({**CONFIG, "architectures": ["GPT2LMHeadModel"]}).encode(), "GPT2LMHeadModel"),
        ("config.json", json.dumps({**CONFIG, "hidden_size": "64"}).encode(), "hidden_size"),
        ("config.json", json.dumps({**CONFIG, "hidden_size": True}).encode(), "hidden_size"),
        ("config.json", json.dumps({**CONFIG, "num_key_value_heads": "1"}).encode(), "num_key_value_heads"),
        ("config.json", json.dumps({**CONFIG, "head_dim": True}).encode(), "head_dim"),
        ("config.json", json.dumps({**CONFIG, "head_dim": 0}).encode(), "head_dim"),
        ("config.json", json.dumps({**CONFIG, "architectures": 7}).encode(), "no named kind"),
        ("config.json", json.dumps({**CONFIG, "quantization_config": {"bits": 4}}).encode(), "already quantised"),
        ("model.safetensors", None, "has no weights"),
        ("model.safetensors", b"", "not a whole safetensors file"),
        ("model.safetensors", WEIGHTS[:12], "not a whole safetensors file"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("tokenizer.json", None, "no tokenizer.json"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused_with_a_sentence(
    folder: Path, file: str, content: bytes | None, sentence: str
) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(BaseModelError, match=sentence):
        find(str(folder))


@pytest.mark.parametrize("name", [None, "", "  ", "llama-3", "/nowhere/at/all"])
def test_an_unknown_name_is_refused_with_the_names_there_are(name: str | None) -> None:
    with pytest.raises(BaseModelError, match="llama-2-13b"):
        find(name)


@pytest.mark.parametrize("name", ["~nosuchuser/x", "x" * 300])
def test_a_name_that_cannot_be_looked_at_is_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(BaseModelError, match="cannot be looked at"):
        find(name)


def test_a_folder_too_deep_for_its_path_to_be_kept_is_refused(folder: Path) -> None:
    deep = folder / ("d" * 200) / ("e" * 100)
    deep.mkdir(parents=True)
    with pytest.raises(BaseModelError, match="longer than 255 characters"):
        find(str(deep))
