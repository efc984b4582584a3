"""The formula of prolora.memory against real training steps: how far it lies from the memory that they take.

    python -m bench.memory           # prints a table and writes bench/results/memory.json

Llamas of random weights, all seven projections, PRoLoRA at the paper's setting, AdamW. Each case steps in a process of
its own: the highest resident size in three steps less that before the model was there, with an allocator that gives
freed memory back at once. A step of a tiny model comes first, so that the libraries' own code is not counted.
"""

import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from bench.machine import hardware
from prolora.base_models import Shapes
from prolora.base_models.architectures import Config, llama
from prolora.budget import count
from prolora.memory import Training, estimate
from prolora.peft import ProloraConfig
from prolora.plan import PROJECTIONS, Setting
from prolora.quantized import train_in_float32
from worker import base

RESULTS = Path(__file__).parent / "results" / "memory.json"
SETTING = Setting(32, 4, 7, 7)
FIELDS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
MODELS = {
    "tiny": dict(zip(FIELDS, (64, 96, 1, 2, 2), strict=True)) | {"vocab_size": 64},
    "34M": dict(zip(FIELDS, (512, 1376, 8, 8, 8), strict=True)) | {"vocab_size": 8192},
    "110M": dict(zip(FIELDS, (768, 2048, 12, 12, 4), strict=True)) | {"vocab_size": 16384},
}
CASES: tuple[tuple[str, Training], ...] = (
    ("34M", Training(4, 512)),
    ("34M", Training(4, 512, attention="eager")),
    ("34M", Training(4, 512, checkpointing=True)),
    ("34M", Training(16, 128)),
    ("34M", Training(2, 1024, dropout=0.0)),
    ("34M", Training(4, 512, quantization="none")),
    ("110M", Training(2, 512)),
    ("110M", Training(2, 512, attention="eager")),
    ("110M", Training(4, 512, checkpointing=True)),
    ("110M", Training(8, 256)),
)


def shapes_of(model: str) -> Shapes:
    return llama(Config(MODELS[model], model))


def prepared(model: str, training: Training, folder: Path) -> PeftModel:
    """The base, written once and loaded as the studio loads it, with an adapter in front."""
    frozen = AutoModelForCausalLM.from_pretrained(
        folder / model,
        dtype=base.DTYPE,
        quantization_config=base.NF4 if training.quantization == "nf4" else None,
        attn_implementation=training.attention,
        local_files_only=True,
    )
    base.keep_packing(frozen)
    frozen.config.use_cache = False
    if training.checkpointing:
        frozen.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        frozen.enable_input_require_grads()
    parts = {name: getattr(SETTING, name) for name in ("r", "u", "m", "n")}
    config = ProloraConfig(**parts, lora_dropout=training.dropout, target_modules=list(PROJECTIONS))
    adapted: PeftModel = get_peft_model(frozen, config).train()
    train_in_float32(adapted)
    return adapted


def peak(model: str, training: Training, folder: Path) -> int:
    """Bytes that three steps take at most, above what the process has before the model."""
    warm = replace(training, batch=1, length=16)
    _steps(prepared("tiny", warm, folder), "tiny", warm)
    gc.collect()
    before = _status("VmRSS")
    _steps(prepared(model, training, folder), model, training)
    return _status("VmHWM") - before


def _steps(adapted: PeftModel, model: str, training: Training) -> None:
    """One step, and three of which the highest resident size counts."""
    trained = [each for each in adapted.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.0)
    words = MODELS[model]["vocab_size"]
    ids = torch.randint(words, (training.batch, training.length), generator=torch.Generator().manual_seed(1))
    for turn in range(4):
        if turn == 1:
            Path("/proc/self/clear_refs").write_text("5")
        with torch.autocast("cpu", torch.bfloat16):
            loss = adapted(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def case(number: int, folder: Path) -> dict[str, Any]:
    """One case, measured in a process of its own."""
    model, training = CASES[number]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-m", "bench.memory", "--peak", str(number), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    measured = int(done.stdout.split()[-1])
    shapes = shapes_of(model)
    memory = estimate(shapes, count(SETTING, shapes), SETTING.r, training)
    return {
        "model": model,
        "training": asdict(training),
        "formula": asdict(memory) | {"total": memory.total},
        "measured_bytes": measured,
        "relative_error": round(memory.total / measured - 1, 4),
    }


def line(found: dict[str, Any]) -> str:
    chosen = found["training"]
    what = f"{found['model']} {chosen['batch']} x {chosen['length']} {chosen['quantization']} {chosen['attention']}"
    what += " checkpointed" if chosen["checkpointing"] else ""
    formula, measured = found["formula"]["total"] / 1e6, found["measured_bytes"] / 1e6
    return f"{what:<42}{formula:>9.0f} MB{measured:>9.0f} MB measured{found['relative_error']:>+8.1%}"


def write_models(folder: Path) -> None:
    torch.manual_seed(1)
    for name, fields in MODELS.items():
        config = LlamaConfig(**fields, max_position_embeddings=1024, dtype="bfloat16")
        LlamaForCausalLM(config).save_pretrained(folder / name)


def main() -> None:
    if sys.argv[1:2] == ["--peak"]:
        print(peak(*CASES[int(sys.argv[2])], Path(sys.argv[3])))
        return
    cases = []
    with TemporaryDirectory() as folder:
        write_models(Path(folder))
        for number in range(len(CASES)):
            cases.append(case(number, Path(folder)))
            print(line(cases[-1]), flush=True)
    about = {"hardware": hardware(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    worst = max(abs(each["relative_error"]) for each in cases)
    found = {"about": about, "setting": str(SETTING), "largest_relative_error": worst, "cases": cases}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
