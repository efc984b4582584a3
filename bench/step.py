"""A whole training step against PEFT's LoRA: tokens a second, peak memory, and what must be stored.

    python -m bench.step             # prints a table and writes bench/results/step.json

A Llama of 34M random parameters in NF4, all seven projections, PRoLoRA at the paper's setting against LoRA of equal
rank in three settings, the strongest of which is named, and beside them LoRA of equal budget. Speed is the median of
seven rounds in which every rival steps in turn in one process. Peak memory is that of a process of its own a rival:
the highest resident size in three steps less that before the model was there, with an allocator that gives freed
memory back at once.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from bench.machine import hardware
from prolora.peft import ProloraConfig
from prolora.plan import PROJECTIONS, Setting
from worker import base

RESULTS = Path(__file__).parent / "results" / "step.json"
SHAPE = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8}
VOCABULARY, BATCH, LENGTH, ROUNDS, WARM_UP = 8192, 4, 512, 7, 2
SETTING, DROPOUT, ALPHA = Setting(32, 4, 7, 7), 0.1, 16


@dataclass(frozen=True)
class Rival:
    config: Callable[[], PeftConfig]
    adapters: torch.dtype = torch.float32
    autocast: bool = True


def prolora() -> PeftConfig:
    r, u, m, n = SETTING.r, SETTING.u, SETTING.m, SETTING.n
    return ProloraConfig(r=r, u=u, m=m, n=n, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules=list(PROJECTIONS))


def lora(rank: int) -> Callable[[], PeftConfig]:
    targets = list(PROJECTIONS)
    return lambda: LoraConfig(r=rank, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules=targets)


EQUAL_RANK = {
    "LoRA r=32": Rival(lora(32)),
    "LoRA r=32, without autocast": Rival(lora(32), autocast=False),
    "LoRA r=32, bf16 adapters": Rival(lora(32), torch.bfloat16, autocast=False),
}
OURS, BUDGET = "PRoLoRA (32, 4, 7, 7)", "LoRA r=8"
RIVALS = {OURS: Rival(prolora), **EQUAL_RANK, BUDGET: Rival(lora(8))}


def write_model(folder: Path) -> None:
    torch.manual_seed(1)
    config = LlamaConfig(**SHAPE, vocab_size=VOCABULARY, max_position_embeddings=LENGTH, dtype="bfloat16")
    LlamaForCausalLM(config).save_pretrained(folder)


class Training:
    """One rival, ready to step."""

    def __init__(self, rival: Rival, folder: Path) -> None:
        loaded = AutoModelForCausalLM.from_pretrained(
            folder, dtype=base.DTYPE, quantization_config=base.NF4, attn_implementation="sdpa", local_files_only=True
        )
        base.keep_packing(loaded)
        self.model: PeftModel = get_peft_model(loaded, rival.config()).train()
        for parameter in self.parameters():
            parameter.data = parameter.data.to(rival.adapters)
        self.autocast = rival.autocast
        self.optimizer = torch.optim.AdamW(self.parameters(), lr=2e-4, weight_decay=0.0)
        self.ids = torch.randint(VOCABULARY, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))

    def parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def step(self) -> None:
        with torch.autocast("cpu", torch.bfloat16) if self.autocast else nullcontext():
            loss = self.model(self.ids, labels=self.ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters(), 0.3)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def stored(self) -> dict[str, int]:
        """Numbers that are trained, that the optimizer keeps of them, and bytes of the adapter's tensors on disk."""
        trained = [each for each in self.parameters() if each.numel()]
        state = sum(t.numel() for each in trained for t in self.optimizer.state[each].values() if t.dim())
        with TemporaryDirectory() as folder:
            self.model.save_pretrained(folder)
            weights = (Path(folder) / "adapter_model.safetensors").read_bytes()
        tensors = len(weights) - 8 - int.from_bytes(weights[:8], "little")  # without the header
        return {"parameters": sum(t.numel() for t in trained), "optimizer_state": state, "checkpoint_bytes": tensors}


def speeds(folder: Path) -> tuple[dict[str, float], dict[str, dict[str, int]]]:
    """Median tokens a second, and what is stored, of each rival."""
    trainings = {name: Training(rival, folder) for name, rival in RIVALS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for turn in range(WARM_UP + ROUNDS):
        for name, training in trainings.items():
            start = time.perf_counter()
            training.step()
            if turn >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    tokens = {name: BATCH * LENGTH / statistics.median(values) for name, values in seconds.items()}
    return tokens, {name: training.stored() for name, training in trainings.items()}


def peak(name: str, folder: Path) -> int:
    """Bytes, measured in a process of its own."""
    command = [sys.executable, "-m", "bench.step", "--peak", name, str(folder)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def measure_peak(name: str, folder: Path) -> int:
    before = _status("VmRSS")
    training = Training(RIVALS[name], folder)
    training.step()
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident size counts from now
    for _ in range(3):
        training.step()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def report(folder: Path) -> dict[str, Any]:
    tokens, stored = speeds(folder)
    peaks = {name: peak(name, folder) for name in RIVALS}
    fastest, leanest = max(EQUAL_RANK, key=tokens.__getitem__), min(EQUAL_RANK, key=peaks.__getitem__)
    ours, equal = stored[OURS], stored["LoRA r=32"]
    return {
        "about": {"hardware": hardware(), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "tokens_per_second": {name: round(value) for name, value in tokens.items()},
        "peak_bytes": peaks,
        "stored": stored,
        "strongest_lora": {"speed": fastest, "memory": leanest},
        "speed_ratio": round(tokens[OURS] / tokens[fastest], 3),
        "speed_ratio_default_lora": round(tokens[OURS] / tokens["LoRA r=32"], 3),
        "speed_ratio_equal_budget": round(tokens[OURS] / tokens[BUDGET], 3),
        "memory_ratio": round(peaks[OURS] / peaks[leanest], 3),
        "memory_ratio_default_lora": round(peaks[OURS] / peaks["LoRA r=32"], 3),
        "memory_ratio_equal_budget": round(peaks[OURS] / peaks[BUDGET], 3),
        "ratios_to_equal_rank": {what: ours[what] / equal[what] for what in ours},
    }


def lines(found: dict[str, Any]) -> Iterator[str]:
    for name, tokens in found["tokens_per_second"].items():
        yield f"{name:<30}{tokens:>8} tokens/s{found['peak_bytes'][name] / 1e6:>10.0f} MB"
    for name in ("speed_ratio", "memory_ratio", "ratios_to_equal_rank"):
        yield f"{name}: {found[name]}"


def main() -> None:
    if sys.argv[1:2] == ["--peak"]:
        print(measure_peak(sys.argv[2], Path(sys.argv[3])))
        return
    with TemporaryDirectory() as folder:
        write_model(Path(folder))
        found = report(Path(folder))
    print("\n".join(lines(found)))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
