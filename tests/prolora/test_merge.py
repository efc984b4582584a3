"""Merged weights: a model of its own that answers as base and adapter do, or a refusal before anything is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from prolora.adapter_file import AdapterError
from prolora.merge import merge
from prolora.peft import ProloraConfig

TOKENS = torch.arange(20).view(2, 10)
SHAPE = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4}
Base = Callable[..., Path]


@pytest.fixture
def base(tmp_path: Path, tiny_base: Path) -> Base:
    def write(dtype: torch.dtype = torch.float32, tied: bool = False, shard: str = "1GB") -> Path:
        torch.manual_seed(0)
        config = LlamaConfig(
            **SHAPE, num_key_value_heads=2, vocab_size=64, tie_word_embeddings=tied, initializer_range=0.1
        )
        folder = tmp_path / "base"
        LlamaForCausalLM(config).to(dtype).save_pretrained(folder, max_shard_size=shard)
        AutoTokenizer.from_pretrained(tiny_base).save_pretrained(folder)
        return folder

    return write


def prolora(**options: Any) -> PeftConfig:
    return ProloraConfig(**{"r": 9, "u": 2, "m": 5, "n": 5, "init_weights": False} | options)


def lora(**options: Any) -> PeftConfig:
    targets = ["q_proj", "v_proj", "down_proj"]
    return LoraConfig(r=4, target_modules=targets, init_lora_weights=False, use_rslora=True, **options)


def adapter(folder: Path, base: Path, config: PeftConfig) -> Path:
    model = get_peft_model(load(base), config)
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            parameter.data *= torch.linspace(0.5, 2, parameter.numel())
    model.save_pretrained(folder)
    return folder


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(TOKENS).logits
    return found


@pytest.mark.parametrize(
    "config",
    [
        prolora(),
        prolora(use_dora=True),
        prolora(
            m=3, n=3, share_along="rank", setting_pattern={"q_proj": {"r": 12, "u": 2}}, alpha_pattern={"v_proj": 4}
        ),
        lora(),
        lora(use_dora=True),
        lora(bias="lora_only", modules_to_save=["lm_head"]),
    ],
    ids=["prolora", "prolora-dora", "patterns", "lora", "dora", "trained-whole"],
)
def test_the_merged_model_answers_as_the_adapter_does(base: Base, tmp_path: Path, config: PeftConfig) -> None:
    folder = base(shard="60kB")
    source = adapter(tmp_path / "adapter", folder, config)
    lines: list[str] = []
    merged = merge(source, tmp_path / "merged", folder, progress=lines.append)
    expected = logits(PeftModel.from_pretrained(load(folder), source).eval())
    torch.testing.assert_close(logits(load(merged)), expected, rtol=1e-4, atol=1e-4)
    assert (expected - logits(load(folder))).abs().max() > 0.05
    assert len(lines) == len(list(folder.glob("*.safetensors"))) > 2


@pytest.mark.parametrize("tied", [False, True])
def test_a_bfloat16_sum_is_made_in_float32_and_rounded_once(base: Base, tmp_path: Path, tied: bool) -> None:
    folder = base(torch.bfloat16, tied)
    source = adapter(tmp_path / "adapter", folder, prolora())
    merged = load_file(merge(source, tmp_path / "merged", folder) / "model.safetensors")
    exact = PeftModel.from_pretrained(load(folder), source).merge_and_unload().state_dict()
    assert merged.keys() == load_file(folder / "model.safetensors").keys()
    assert ("lm_head.weight" in merged) is not tied
    for name, tensor in merged.items():
        assert tensor.dtype == torch.bfloat16
        # Half a step of bfloat16, and what float32 itself rounds.
        torch.testing.assert_close(tensor.float(), exact[name], rtol=2**-8 * 1.001, atol=1e-6)
    assert logits(load(tmp_path / "merged")).shape == (2, 10, 64)


def test_another_dtype_is_written_into_weights_index_and_configuration(base: Base, tmp_path: Path) -> None:
    folder = base(shard="60kB")
    merged = merge(adapter(tmp_path / "adapter", folder, prolora()), tmp_path / "merged", folder, "bfloat16")
    tensors = [tensor for shard in merged.glob("*.safetensors") for tensor in load_file(shard).values()]
    assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}
    index = json.loads((merged / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2 * sum(tensor.numel() for tensor in tensors)
    assert AutoModelForCausalLM.from_pretrained(merged, dtype="auto").dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(merged).encode("ab") == AutoTokenizer.from_pretrained(folder).encode("ab")


def change(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def without(folder: Path, name: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors")


def narrower(folder: Path, name: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, folder / "model.safetensors")


Q_PROJ = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: change(folder, quantization_config={"quant_method": "bitsandbytes"}), "rounding them again"),
        (lambda folder: without(folder, Q_PROJ), f"changes {Q_PROJ}, and the base .* has no such weight"),
        (lambda folder: narrower(folder, Q_PROJ), rf"another base: {Q_PROJ} is \(48, 48\) there, \(47, 48\) here"),
        (lambda folder: (folder / "config.json").unlink(), "no readable config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"torn"), "is torn"),
        (lambda folder: save_file({"a": torch.ones(2).byte()}, folder / "model.safetensors"), "holds U8"),
    ],
)
def test_a_base_that_cannot_be_merged_is_refused_before_anything_is_written(
    base: Base, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    folder = base()
    source = adapter(tmp_path / "adapter", folder, prolora())
    spoil(folder)
    with pytest.raises(AdapterError, match=words):
        merge(source, tmp_path / "merged", folder)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter", "base"}


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_a_head_that_is_tied_to_the_embeddings_is_not_changed_behind_their_back(base: Base, tmp_path: Path) -> None:
    folder = base(tied=False)
    source = adapter(tmp_path / "adapter", folder, prolora(target_modules=["lm_head"]))
    change(folder, tie_word_embeddings=True)
    with pytest.raises(AdapterError, match=r"changes lm_head.weight, which .* Untie it first"):
        merge(source, tmp_path / "merged", folder)


def test_a_base_without_a_head_is_tied_though_its_configuration_does_not_say_so(base: Base, tmp_path: Path) -> None:
    folder = base(tied=True)
    config = json.loads((folder / "config.json").read_text())
    del config["tie_word_embeddings"]
    (folder / "config.json").write_text(json.dumps(config))
    source = adapter(tmp_path / "adapter", folder, lora())
    tensors = load_file(source / "adapter_model.safetensors")
    tensors["base_model.model.model.embed_tokens.weight"] = torch.zeros(64, 48)
    save_file(tensors, source / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match=r"changes model.embed_tokens.weight, which .* Untie it first"):
        merge(source, tmp_path / "merged", folder)


def test_a_weight_that_the_dtype_cannot_hold_is_refused(base: Base, tmp_path: Path) -> None:
    folder = base()
    source = adapter(tmp_path / "adapter", folder, lora())
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"].fill_(7e4)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(AdapterError, match=r"model\.norm\.weight would not be finite in F16"):
        merge(source, tmp_path / "merged", folder, "float16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]
    assert merge(source, tmp_path / "merged", folder, "bfloat16").is_dir()


@pytest.mark.parametrize("places", [[1], {}, {"a": 1}, {"a": ["x"]}, "x"], ids=str)
def test_an_index_that_names_no_files_is_refused(base: Base, tmp_path: Path, places: object) -> None:
    folder = base()
    source = adapter(tmp_path / "adapter", folder, lora())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(AdapterError, match="must name the file of each weight"):
        merge(source, tmp_path / "merged", folder)
