"""How fast one layer is against PEFT's LoRA of equal rank, forward and backward, and decoding.

    python -m bench.layer            # prints a table and writes bench/results/layer.json

Every figure is a ratio of medians of rounds that alternate between the two in one process; saved bytes are what
autograd keeps of a forward pass beyond the layer's weights and input. LoRA's strongest setting is the faster and the
leaner of float32 and bfloat16 adapters, each for itself.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from bench.machine import hardware
from prolora.peft import ProloraConfig, ProloraLinear
from prolora.plan import Setting

RESULTS = Path(__file__).parent / "results" / "layer.json"
RANK, TOKENS = 32, 2048
ROUNDS = {1024: 61, 4096: 9}  # by width: a step of the narrow layer takes milliseconds, so it needs more
SETTING = Setting(RANK, 4, 7, 7)


def prolora_layer(width: int, dropout: float, base: torch.dtype) -> nn.Module:
    config = ProloraConfig(r=SETTING.r, u=SETTING.u, m=SETTING.m, n=SETTING.n, lora_dropout=dropout, init_weights=False)
    layer = ProloraLinear(nn.Linear(width, width, bias=False, dtype=base), "default", config)
    return _frozen_base(layer)


def lora_layer(width: int, dropout: float, base: torch.dtype, adapter: torch.dtype) -> nn.Module:
    config = LoraConfig(r=RANK, lora_alpha=16, lora_dropout=dropout, init_lora_weights=False)
    layer = LoraLinear(nn.Linear(width, width, bias=False, dtype=base), "default", config, r=RANK, lora_alpha=16)
    for name in ("lora_A", "lora_B"):
        getattr(layer, name).to(adapter)
    return _frozen_base(layer)


def _frozen_base(layer: Any) -> nn.Module:
    layer.get_base_layer().requires_grad_(False)
    return layer  # type: ignore[no-any-return]


def step(layer: nn.Module, x: Tensor, gradient: Tensor) -> None:
    layer(x).backward(gradient)


def saved_bytes(layer: nn.Module, x: Tensor) -> int:
    known = {tensor.untyped_storage().data_ptr() for tensor in (x, *layer.parameters())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    return sum(kept.values())


def alternate(calls: dict[str, Any], rounds: int, repeats: int = 1) -> dict[str, float]:
    """Median milliseconds of each call, taken in turn so that a busy moment falls on all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats):
                call()
            if turn >= 2:
                times[name].append((time.perf_counter() - start) * 1000 / repeats)
    return {name: statistics.median(values) for name, values in times.items()}


def training_row(width: int, dropout: float, base: torch.dtype) -> dict[str, Any]:
    layers = {"prolora": prolora_layer(width, dropout, base)}
    for adapter in {torch.float32, base}:
        layers[f"lora {_name(adapter)}"] = lora_layer(width, dropout, base, adapter)
    x = torch.randn(TOKENS, width, dtype=base, requires_grad=True)
    gradient = torch.randn(TOKENS, width, dtype=base)
    times = alternate(
        {name: lambda layer=layer: step(layer, x, gradient) for name, layer in layers.items()}, ROUNDS[width]
    )
    saved = {name: saved_bytes(layer, x) for name, layer in layers.items()}
    rivals = [name for name in layers if name != "prolora"]
    fastest, leanest = min(rivals, key=times.__getitem__), min(rivals, key=saved.__getitem__)
    return {
        "width": width,
        "dropout": dropout,
        "base": _name(base),
        "milliseconds": {name: round(value, 2) for name, value in times.items()},
        "saved_bytes": saved,
        "fastest_lora": fastest,
        "time_ratio": round(times["prolora"] / times[fastest], 3),
        "time_ratio_default_lora": round(times["prolora"] / times["lora float32"], 3),
        "saved_ratio": round(saved["prolora"] / max(saved[leanest], 1), 3),
        "saved_ratio_default_lora": round(saved["prolora"] / max(saved["lora float32"], 1), 3),
    }


@torch.no_grad()
def decode_row(width: int, tokens: int) -> dict[str, Any]:
    base = torch.bfloat16
    ours, lora = prolora_layer(width, 0.0, base).eval(), lora_layer(width, 0.0, base, base).eval()
    x = torch.randn(tokens, width, dtype=base)

    def uncached() -> None:
        ours._kept_factors.clear()  # type: ignore[operator,union-attr]
        ours(x)

    calls = {"cached": lambda: ours(x), "lora": lambda: lora(x), "uncached": uncached}
    times = alternate(calls, rounds=21, repeats=10)
    return {
        "width": width,
        "tokens": tokens,
        "milliseconds": {name: round(value, 4) for name, value in times.items()},
        "cached_ratio": round(times["cached"] / times["lora"], 3),
        "uncached_ratio": round(times["uncached"] / times["lora"], 3),
        "kept_bytes": 2 * RANK * width * base.itemsize,
    }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def main() -> None:
    torch.manual_seed(1)
    training = [
        training_row(width, dropout, base)
        for width in (1024, 4096)
        for base in (torch.float32, torch.bfloat16)
        for dropout in (0.0, 0.1)
    ]
    decoding = [decode_row(width, tokens) for width in (1024, 4096) for tokens in (1, 8, 64)]
    for row in (*training, *decoding):
        print(row)
    about = {"machine": hardware(), "threads": torch.get_num_threads()}
    about |= {"torch": torch.__version__, "setting": str(SETTING), "tokens": str(TOKENS)}
    RESULTS.write_text(json.dumps({"about": about, "training": training, "decoding": decoding}, indent=1) + "\n")


if __name__ == "__main__":
    main()
