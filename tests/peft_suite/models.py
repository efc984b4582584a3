"""Tiny random models under the names by which PEFT's suite asks a hub for its own."""

from pathlib import Path

import torch
import transformers
from peft import LoraConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

VOCABULARY = 200
LLAMA = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
BERT = LLAMA | {"num_attention_heads": 4}
OPT = {"vocab_size": VOCABULARY, "hidden_size": 32, "ffn_dim": 40, "num_attention_heads": 4}
BART = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 40,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}

# Name -> the model's class, and its configuration where that differs from the class's own.
BASES = {
    "peft-internal-testing/tiny-random-OPTForCausalLM": ("OPTForCausalLM", OPT | {"num_hidden_layers": 2}),
    # Blocks of 4 bits are 64 numbers wide.
    "peft-internal-testing/opt-125m": (
        "OPTForCausalLM",
        OPT | {"hidden_size": 64, "ffn_dim": 128, "num_hidden_layers": 12},
    ),
    "peft-internal-testing/tiny-random-GPTJForCausalLM": (
        "GPTJForCausalLM",
        {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
    ),
    "trl-internal-testing/tiny-random-LlamaForCausalLM": ("LlamaForCausalLM", LLAMA | HEADS),
    "peft-internal-testing/tiny-dummy-qwen2": ("Qwen2ForCausalLM", LLAMA | HEADS),
    "hf-internal-testing/tiny-random-Gemma3ForCausalLM": ("Gemma3ForCausalLM", LLAMA | HEADS | {"head_dim": 8}),
    "peft-internal-testing/tiny-random-T5ForConditionalGeneration-calibrated": ("T5ForConditionalGeneration", T5),
    "peft-internal-testing/tiny-random-BartForConditionalGeneration": ("BartForConditionalGeneration", BART),
    "peft-internal-testing/tiny-random-BertModel": ("BertModel", BERT),
    "peft-internal-testing/tiny-random-RobertaModel": ("RobertaModel", BERT),
    "peft-internal-testing/tiny-random-DebertaModel": ("DebertaModel", BERT),
    "peft-internal-testing/tiny-random-DebertaV2Model": ("DebertaV2Model", BERT),
    "peft-internal-testing/tiny-random-BertForSequenceClassification": ("BertForSequenceClassification", BERT),
    "peft-internal-testing/tiny-random-RobertaForSequenceClassification": ("RobertaForSequenceClassification", BERT),
    "trl-internal-testing/tiny-LlamaForSequenceClassification-3.2": (
        "LlamaForSequenceClassification",
        LLAMA | HEADS | {"pad_token_id": 0},
    ),
}
# Of this one, a LoRA, the suite reads the configuration alone.
ADAPTER = "peft-internal-testing/tiny-opt-lora-revision"


def write(root: Path) -> None:
    """Each model in the folder of its name below `root`, so that from there its name is a path."""
    torch.manual_seed(0)
    for name, (kind, fields) in BASES.items():
        model_class = getattr(transformers, kind)
        config: PreTrainedConfig = model_class.config_class(**fields)
        model_class(config).save_pretrained(root / name)
        _tokenizer().save_pretrained(root / name)
    LoraConfig(base_model_name_or_path="peft-internal-testing/opt-125m").save_pretrained(root / ADAPTER)


def _tokenizer() -> PreTrainedTokenizerFast:
    words = {"<unk>": 0} | {f"word{number}": number for number in range(1, VOCABULARY)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, "<unk>")), pad_token="<unk>")
