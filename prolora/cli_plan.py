"""`prolora plan`: settings that keep a budget, best first."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from prolora.plan import Setting

if TYPE_CHECKING:
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
    plan.add_argument("--json", action="store_true", help="a list of settings, best first, instead of a text")
    plan.set_defaults(run=run)


def name(setting: Setting) -> str:
    if setting.u == setting.r:
        return f"LoRA r={setting.r}"
    return f"PRoLoRA r={setting.r} u={setting.u} m={setting.m} n={setting.n}"


def run(chosen: argparse.Namespace) -> int:
    from prolora.planner import suggest  # here, since it loads numpy

    facts = _facts(chosen)
    found = suggest(facts)
    if chosen.json:
        print(json.dumps([_as_json(suggestion) for suggestion in found.prolora], indent=2))
        return 0
    print(found.note, facts.shapes.note, sep=" " if facts.shapes.note else "", end="\n\n")
    for suggestion in (*found.prolora, found.lora):
        print("\n".join(_lines(suggestion)))
    print(f"\nSizes are those of the tensors in {facts.dtype}, in MB of 10^6 bytes.")
    return 0


def _facts(chosen: argparse.Namespace) -> "Facts":
    from prolora.base_models import find
    from prolora.budget import is_capped, parse_budget, parse_tolerance
    from prolora.planner import Facts

    shapes = find(chosen.model).shapes
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


def _lines(suggestion: "Suggestion") -> Iterator[str]:
    from prolora.budget import megabytes

    size = megabytes(suggestion.size_bytes)
    yield f"{name(suggestion.setting):<32}{suggestion.parameters:>14,}{size:>11} {suggestion.gap:>+8.2%}"
    yield f"    {suggestion.reason}"


def _as_json(suggestion: "Suggestion") -> dict[str, Any]:
    return asdict(suggestion.setting) | {
        "parameters": suggestion.parameters,
        "bytes": suggestion.size_bytes,
        "reason": suggestion.reason,
    }
