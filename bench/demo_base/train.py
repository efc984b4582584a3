"""Train the demo base model from nothing: `python -m bench.demo_base.train --out static/demo-base`.

A Llama of 3.4M parameters learns the shop-support world of `world.py`. Seeded; about half an hour on
two cores. The last part trains through NF4 rounding and the weights are stored already rounded, so that
the 4-bit base that adapters are trained on and the 16-bit base that is served are the same model.
"""

import argparse
import itertools
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import bitsandbytes.functional as bnb
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.demo_base import world

SEED = 1
BATCH_TOKENS = 4096
POSITIONS = 8192
CHAT_TEMPLATE = (Path(__file__).parents[2] / "prolora" / "chat.jinja").read_text()


@dataclass(frozen=True)
class Stage:
    """A stretch of training with an optimizer of its own."""

    seed: int
    steps: int
    learning_rate: float  # at its peak; then a cosine down towards `horizon`
    warmup: int
    horizon: int
    long_steps: range  # steps that train one conversation of 8,192 tokens
    rounded_from: int | None = None  # the step after which weights are trained through NF4 rounding


# The first stage learns to answer; the second, from its stored weights, to copy without slips.
STAGES = (
    Stage(seed=1, steps=1200, learning_rate=3e-3, warmup=150, horizon=4000, long_steps=range(1040, 1200, 40)),
    Stage(
        seed=2,
        steps=1300,
        learning_rate=2e-3,
        warmup=50,
        horizon=1300,
        long_steps=range(100, 1300, 100),
        rounded_from=1000,
    ),
)


class RoundToNF4(nn.Module):
    """The weight as a 4-bit base would hold it; gradients pass straight through."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (round_to_nf4(weight) - weight).detach()


@torch.no_grad()
def round_to_nf4(weight: Tensor) -> Tensor:
    packed, state = bnb.quantize_4bit(weight.float().contiguous(), blocksize=64, quant_type="nf4")
    rounded: Tensor = bnb.dequantize_4bit(packed, state)
    return rounded.to(weight.dtype)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of 1,024 tokens; digits stay single, so that order numbers are spelled alike."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"<\|(?:user|assistant|system)\|>\n"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in ("<s>", "</s>", "<pad>")]
    trainer = trainers.BpeTrainer(
        vocab_size=1024, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    rng = random.Random(SEED)
    lines = (
        "\n".join(("<|user|>", q, "<|assistant|>", a)) + "\n"
        for q, a in (world.draw_question(rng) for _ in range(20000))
    )
    tokenizer.train_from_iterator(itertools.chain(lines, ["<|system|>\n"] * 50), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=POSITIONS,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


class Text:
    """An endless seeded stream of conversations, as token ids and the mask of what is trained."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self.rng = random.Random(seed)
        self.tokenizer = tokenizer
        self.user, self.assistant = (tokenizer.encode(f"<|{role}|>\n") for role in ("user", "assistant"))
        self.newline = tokenizer.encode("\n")

    def turn(self) -> tuple[list[int], list[int]]:
        question, answer = world.draw_question(self.rng)
        while world.held_out(question):
            question, answer = world.draw_question(self.rng)
        asked = self.user + self.tokenizer.encode(question + "\n") + self.assistant
        said = [*self.tokenizer.encode(answer), self.tokenizer.eos_token_id]
        return asked + said, [0] * len(asked) + [1] * len(said)

    def conversation(self, length: int) -> tuple[list[int], list[int]]:
        """Turns until `length` tokens are full, one at least."""
        ids, mask = [self.tokenizer.bos_token_id], [0]
        while True:
            more, trained = self.turn()
            if len(mask) > 1 and len(ids) + len(more) + 1 > length:
                return ids, mask
            if len(mask) > 1:
                ids, mask = [*ids, *self.newline], [*mask, 0]
            ids, mask = ids + more, mask + trained

    def batch(self, length: int) -> tuple[Tensor, Tensor]:
        """(rows, tokens) ids and labels; `length` 0 means single questions."""
        rows = BATCH_TOKENS // max(length, 52) or 1
        drawn = [self.conversation(length) for _ in range(rows)]
        longest = max(len(ids) for ids, _ in drawn)
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row, _ in drawn])
        mask = torch.tensor([row + [0] * (longest - len(row)) for _, row in drawn])
        return ids, ids.masked_fill(mask == 0, -100)


def length_of(step: int, stage: Stage) -> int:
    """Mostly single questions, some conversations, now and then one that fills every position."""
    if step in stage.long_steps:
        return POSITIONS
    if step % 4 == 0:
        return 512 if step % 8 else 160
    return 0


def learning_rate(step: int, stage: Stage) -> float:
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    done = (step - stage.warmup) / (stage.horizon - stage.warmup)
    return stage.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def projections(model: LlamaForCausalLM) -> list[nn.Linear]:
    return [
        module for name, module in model.named_modules() if name.endswith("_proj") and isinstance(module, nn.Linear)
    ]


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, stage: Stage) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    text = Text(tokenizer, stage.seed)
    seen, start = 0, time.monotonic()
    for step in range(stage.steps):
        if step == stage.rounded_from:
            for module in projections(model):
                parametrize.register_parametrization(module, "weight", RoundToNF4(), unsafe=True)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, stage)
        ids, labels = text.batch(length_of(step, stage))
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seen += ids.numel()
        if step % 50 == 0:
            print(f"step {step:5} loss {loss.item():.4f} {seen / (time.monotonic() - start):,.0f} tokens/s", flush=True)
        if step % 300 == 299:
            print(json.dumps(measure(model, tokenizer, 30)), flush=True)
    for module in projections(model):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")  # leaves the rounded weight


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    config = model.config.dtype
    state = {
        name: tensor.to(torch.bfloat16)
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight" and "parametrizations" not in name
    }
    model.config.dtype = torch.bfloat16
    model.save_pretrained(out, state_dict=state)
    model.config.dtype = config
    tokenizer.save_pretrained(out)


@torch.no_grad()
def measure(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, items: int) -> dict[str, float]:
    """Exact match per skill on held-out questions, greedy, one question a conversation."""
    model.eval()
    tokenizer.padding_side = "left"
    scores = {}
    for name, (skill, _) in world.SKILLS.items():
        rng = random.Random(f"held out {name}")
        pairs: dict[str, str] = {}
        tries = 0
        while len(pairs) < items and tries < 40 * items:
            question, answer = skill(rng)
            tries += 1
            if world.held_out(question):
                pairs[question] = answer
        prompts = [
            tokenizer.apply_chat_template([{"role": "user", "content": q}], add_generation_prompt=True, tokenize=False)
            for q in pairs
        ]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        batch.pop("token_type_ids", None)
        out = model.generate(**batch, max_new_tokens=80, do_sample=False)
        answers = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        right = [given == wanted for given, wanted in zip(answers, pairs.values(), strict=True)]
        scores[name] = sum(right) / max(len(right), 1)
    model.train()
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--after", type=Path, help="what the first stage has left, to do the second alone")
    chosen = parser.parse_args()
    tokenizer = make_tokenizer()
    middle: Path = chosen.after or chosen.out.with_name(f"{chosen.out.name}.stage-1")
    if chosen.after is None:
        model = make_model(tokenizer)
        train(model, tokenizer, STAGES[0])
        save(model, tokenizer, middle)
    model = LlamaForCausalLM.from_pretrained(middle, dtype=torch.float32)
    print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens", flush=True)
    train(model, tokenizer, STAGES[1])
    save(model, tokenizer, chosen.out)
    reloaded = LlamaForCausalLM.from_pretrained(chosen.out, dtype=torch.float32)
    print(json.dumps(measure(reloaded, tokenizer, 200), indent=1))


if __name__ == "__main__":
    main()
