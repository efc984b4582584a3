"""Loading a base model: the catalogue's, the hub's and any folder's, by one road."""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from prolora.errors import BaseModelError
from prolora.memory import Kind, attention_on
from prolora.plan import Quantization
from prolora.quantized import keep_packing as keep_packing

DTYPE = torch.bfloat16
NF4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=DTYPE,
)


def device() -> Kind:
    return "cuda" if torch.cuda.is_available() else "cpu"


def place() -> str:
    """Where this process computes: of several on one host, which torchrun numbers, each on a card of its own."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device() == "cuda" else "cpu"


def load(model: Path, quantization: Quantization, max_length: int) -> PreTrainedModel:
    """The frozen base, in NF4 unless the plan asks for full precision."""
    try:
        base: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            model,
            dtype=DTYPE,
            device_map={"": place()},
            quantization_config=NF4 if quantization == "nf4" else None,
            attn_implementation=attention_on(device(), max_length),
            local_files_only=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise BaseModelError(f"The base model in {model} cannot be loaded: {error}") from error
    keep_packing(base)
    base.config.use_cache = False  # training; generation asks for it
    return base


def pad(model: PreTrainedModel) -> int:
    """Any token will do where the attention mask is 0; the embedding only has to know it."""
    return model.config.pad_token_id if model.config.pad_token_id is not None else 0
