import json
from pathlib import Path

import pytest

from prolora.base_models import CATALOGUE, DEMO, STUDIO, check_folder, find, trainable
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


# As published: the number of parameters of each model's files on the hub, embeddings that are tied counted once.
PUBLISHED = {
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "mistral-7b-v0.3": 7_248_023_552,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "phi-3-mini": 3_821_079_552,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "tinyllama-1.1b": 1_100_048_384,
    "olmo-2-0425-1b": 1_484_916_736,
    "olmo-2-1124-7b": 7_298_617_344,
    "olmo-2-1124-13b": 13_716_198_400,
}


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_the_catalogue_counts_what_is_published(name: str, parameters: int) -> None:
    assert find(name).shapes.base_parameters == parameters


def test_the_catalogue_begins_with_the_demo_and_says_where_each_comes_from_and_its_licence() -> None:
    assert [base.name for base in CATALOGUE][:4] == ["demo", "llama-2-7b", "llama-2-13b", "llama-2-70b"]
    assert CATALOGUE[0].local
    assert len({base.name for base in CATALOGUE}) == len(CATALOGUE)
    assert all(base.licence and base.source.count("/") == 1 for base in CATALOGUE[1:])
    assert find("gemma-2-2b").source == "google/gemma-2-2b"
    assert find("llama-2-7b").source == "meta-llama/Llama-2-7b-hf"
    assert {base.licence for base in CATALOGUE if base.gated} == {
        "Gemma Terms of Use",
        "Llama 2 Community License",
        "Llama 3.1 Community License",
        "Llama 3.2 Community License",
    }


def test_what_the_studio_cannot_train_can_be_planned_for_and_is_refused_by_the_studio() -> None:
    assert find("qwen3-8b").architecture not in STUDIO
    with pytest.raises(BaseModelError, match=r"Qwen3ForCausalLM; the studio trains .* `prolora plan --model qwen3-8b`"):
        trainable("qwen3-8b")
    assert trainable("llama-3.1-8b").name == "llama-3.1-8b"


def test_a_folder_with_nothing_but_a_config_can_be_planned_for(folder: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).unlink()
    (folder / "config.json").write_text(json.dumps(CONFIG | {"architectures": ["Phi3ForCausalLM"]}))
    assert find(str(folder)).shapes.modules == ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
    with pytest.raises(BaseModelError, match="Phi3ForCausalLM"):
        trainable(str(folder))


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
    assert trainable(str(folder)).local
    (folder / "model-1-of-1.safetensors").unlink()
    with pytest.raises(BaseModelError, match=r"model-1-of-1.* is missing"):
        trainable(str(folder))


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("config.json", None, "no config.json"),
        ("config.json", b"{", "cannot be read as JSON"),
        ("config.json", b"[" * 200_000, "cannot be read as JSON"),
        ("config.json", b"[]", "JSON object"),
        ("config.json", b"{}", "not known here. Known are LlamaForCausalLM"),
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
        trainable(str(folder))


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
