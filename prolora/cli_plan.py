"""`prolora plan`: settings that keep a budget, best first."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from prolora.plan import Setting


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    plan = commands.add_parser("plan", help="settings that keep a budget, best first")
    plan.add_argument("--model", default="demo", help="a name of the catalogue, or a model's folder")
    plan.add_argument("--budget", required=True, help="parameters (5M; 4,997,120) or the LoRA rank to match (rank 8)")
    plan.add_argument("--strict", action="store_true", help="only sharing rates that divide every width")
    plan.add_argument("--hard-cap", action="store_true", help="not one parameter above the budget")
    plan.add_argument("--json", action="store_true", help="a list of settings, best first, instead of a text")
    plan.set_defaults(run=run)


def name(setting: Setting) -> str:
    if setting.u == setting.r:
        return f"LoRA r={setting.r}"
    return f"PRoLoRA r={setting.r} u={setting.u} m={setting.m} n={setting.n}"


def run(chosen: argparse.Namespace) -> int:
    from prolora import base_models, planner  # here, since they load numpy
    from prolora.budget import megabytes, parse_budget

    shapes = base_models.find(chosen.model).shapes
    budget = parse_budget(chosen.budget, shapes)
    found = planner.suggest(planner.Facts(shapes, budget, divisible=chosen.strict, hard_cap=chosen.hard_cap))
    if chosen.json:
        print(json.dumps([_as_json(suggestion) for suggestion in found.prolora], indent=2))
        return 0
    print(found.note, end="\n\n")
    for suggestion in (*found.prolora, found.lora):
        size = megabytes(suggestion.size_bytes)
        print(
            f"{name(suggestion.setting):<32}{suggestion.parameters:>14,}{size:>11} {suggestion.gap:>+8.2%}\n"
            f"    {suggestion.reason}"
        )
    return 0


def _as_json(suggestion: Any) -> dict[str, Any]:
    return asdict(suggestion.setting) | {
        "parameters": suggestion.parameters,
        "bytes": suggestion.size_bytes,
        "reason": suggestion.reason,
    }
