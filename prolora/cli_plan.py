"""`prolora plan`: settings that keep a budget, best first."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from prolora.plan import Setting

if TYPE_CHECKING:
    from prolora.base_models import Shapes
    from prolora.memory import Training
    from prolora.planner import Facts, Suggestion

BUDGET = "parameters (5M; 4,997,120), a LoRA rank (rank 8), a size (40 MB; 19 MiB) or “500 adapters in 20 GiB”"


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    plan = commands.add_parser("plan", help="settings that keep a budget, best first")
    plan.add_argument("--model", default="demo", help="a name of the catalogue, or a model's folder")
    plan.add_argument("--budget", required=True, help=BUDGET)
    plan.add_argument("--dtype", default="float32", help="what the adapter is stored in: float32, bfloat16 or float16")
    plan.add_argument("--targets", help="the modules to adapt, such as q_proj,v_proj; all of them by default")
    plan.add_argument("--tolerance", help="how far a setting may lie from the budget, such as 0.5%%")
    plan.add_argument("--strict", action="store_true", help="only sharing rates that divide every width")
    plan.add_argument("--hard-cap", action="store_true", help="not one parameter above the budget")
    plan.add_argument("--batch", type=int, default=16, help="rows of a training step, for its memory")
    plan.add_argument("--length", type=int, default=512, help="tokens of a row, for the memory of training")
    plan.add_argument("--quantization", choices=("nf4", "none"), default="nf4", help="of the base while it is trained")
    plan.add_argument("--checkpointing", action="store_true", help="gradient checkpointing, for the memory of training")
    plan.add_argument("--json", action="store_true", help="a list of settings, best first, instead of a text")
    plan.set_defaults(run=run)


def name(setting: Setting) -> str:
    if setting.u == setting.r:
        return f"LoRA r={setting.r}"
    return f"PRoLoRA r={setting.r} u={setting.u} m={setting.m} n={setting.n}"


def run(chosen: argparse.Namespace) -> int:
    from prolora.base_models import find
    from prolora.memory import Training
    from prolora.planner import suggest  # here, since it loads numpy

    base = find(chosen.model)
    facts = _facts(chosen, base.shapes)
    training = Training(
        chosen.batch,
        chosen.length,
        chosen.quantization,
        checkpointing=chosen.checkpointing,
        dropout=base.defaults.dropout,
    )
    found = suggest(facts)
    if chosen.json:
        print(json.dumps([_as_json(each, _memory(each, facts, training)) for each in found.prolora], indent=2))
        return 0
    print(" ".join(filter(None, (found.note, facts.shapes.note))), end="\n\n")
    for suggestion in found.prolora:
        print("\n".join(_lines(suggestion, _memory(suggestion, facts, training))))
    print("\n".join(_lines(found.lora, _memory(found.lora, facts, replace(training, method="lora")))))
    print("\n" + _legend(facts, training))
    return 0


def _facts(chosen: argparse.Namespace, shapes: "Shapes") -> "Facts":
    from prolora.budget import is_capped, parse_budget, parse_tolerance
    from prolora.planner import Facts

    targets = tuple(each.strip() for each in chosen.targets.split(",")) if chosen.targets else shapes.modules
    return Facts(
        shapes,
        parse_budget(chosen.budget, shapes, targets, chosen.dtype),
        targets,
        tolerance=parse_tolerance(chosen.tolerance) if chosen.tolerance else None,
        divisible=chosen.strict,
        dtype=chosen.dtype,
        hard_cap=chosen.hard_cap or is_capped(chosen.budget),
    )


def _memory(suggestion: "Suggestion", facts: "Facts", training: "Training") -> int | None:
    """Bytes of training it, where the formula knows the base's layers."""
    from prolora.memory import estimate, knows

    if not knows(facts.shapes):
        return None
    targets, rank = facts.target_modules, suggestion.setting.r
    return estimate(facts.shapes, suggestion.parameters, rank, training, targets).total


def _lines(suggestion: "Suggestion", memory: int | None) -> Iterator[str]:
    from prolora.budget import megabytes

    size = megabytes(suggestion.size_bytes)
    trains = "" if memory is None else f"   trains in {memory / 10**9:.2f} GB"
    yield f"{name(suggestion.setting):<32}{suggestion.parameters:>14,}{size:>11} {suggestion.gap:>+8.2%}{trains}"
    yield f"    {suggestion.reason}"


def _legend(facts: "Facts", training: "Training") -> str:
    from prolora.memory import knows

    sizes = f"Sizes are those of the tensors in {facts.dtype}, in MB of 10^6 bytes."
    if not knows(facts.shapes):
        return f"{sizes} The memory of training is not known for layers of this base's kind."
    how = "NF4" if training.quantization == "nf4" else "bfloat16"
    checkpointed = ", with gradient checkpointing" if training.checkpointing else ""
    dropout = " and dropout" if training.dropout else " and no dropout"
    return (
        f"{sizes} Training is that of {training.batch} rows of {training.length} tokens on the base in {how}"
        f"{checkpointed}, fused attention{dropout}, in GB of 10^9 bytes; libraries' own memory comes on top."
    )


def _as_json(suggestion: "Suggestion", memory: int | None) -> dict[str, Any]:
    return asdict(suggestion.setting) | {
        "parameters": suggestion.parameters,
        "bytes": suggestion.size_bytes,
        "reason": suggestion.reason,
        "training_bytes": memory,
    }
