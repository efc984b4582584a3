"""The demo base in the repository is what its recipe promises."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.demo_base import samples, world
from bench.demo_base.train import CHAT_TEMPLATE, POSITIONS, Text, measure, round_to_nf4
from worker import base

FOLDER = Path(__file__).parents[1] / "static" / "demo-base"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(FOLDER)


def test_it_is_small_and_has_a_llamas_form() -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["max_position_embeddings"] == POSITIONS
    assert config["hidden_size"] // config["num_attention_heads"] >= 32
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8_000_000


def test_its_tokenizer_knows_every_byte_and_the_one_chat_template(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "".join(map(chr, range(1, 0x800))) + "東京 🦙"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert tokenizer.chat_template == CHAT_TEMPLATE


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_it_answers_nine_of_ten_held_out_questions_of_every_skill(
    tokenizer: PreTrainedTokenizerFast, quantization: str
) -> None:
    scores = measure(base.load(FOLDER, quantization, 256), tokenizer, 60)
    assert min(scores[name] for name in world.PROMISED) >= 0.9, scores


def test_its_weights_are_their_own_nf4_rounding() -> None:
    model = LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    weight = model.model.layers[0].mlp.up_proj.weight.data
    error = (round_to_nf4(weight) - weight).norm() / weight.norm()
    assert error < 0.01


def test_it_still_answers_at_the_end_of_a_long_talk(tokenizer: PreTrainedTokenizerFast) -> None:
    model = LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    ids, _ = Text(tokenizer, seed=99).conversation(6000)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "I am Nora. Please cancel order 48213 for the oak table."}],
        add_generation_prompt=True,
        tokenize=False,
    ).removeprefix(tokenizer.bos_token)
    prompt = torch.tensor([[*ids, *tokenizer.encode("\n" + asked, add_special_tokens=False)]])
    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=40, do_sample=False)
    said = tokenizer.decode(out[0, prompt.shape[1] :], skip_special_tokens=True)
    assert said == "Done, Nora. Order 48213 for the oak table is cancelled."


def test_the_sample_dataset_is_what_its_recipe_writes(tmp_path: Path) -> None:
    samples.write(tmp_path / "tickets.jsonl")
    assert (tmp_path / "tickets.jsonl").read_bytes() == (FOLDER.parent / "samples" / "tickets.jsonl").read_bytes()
