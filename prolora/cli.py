"""The command line: `prolora plan`, `check`, `inspect` and `expand`."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prolora import adapter_file, base_models, planner
from prolora.budget import megabytes, parse_budget
from prolora.dataset import Mapping, read
from prolora.errors import DatasetError, StudioError
from prolora.plan import Setting


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except StudioError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "prolora", description="Plan PRoLoRA adapters, check datasets, look into adapters and expand them."
    )
    commands = parser.add_subparsers(required=True, metavar="plan | check | inspect | expand")

    plan = commands.add_parser("plan", help="settings that keep a budget, best first")
    plan.add_argument("--model", default="demo", help="a name of the catalogue, or a model's folder")
    plan.add_argument("--budget", required=True, help="parameters (5M; 4,997,120) or the LoRA rank to match (rank 8)")
    plan.add_argument("--strict", action="store_true", help="only sharing rates that divide every width")
    plan.add_argument("--hard-cap", action="store_true", help="not one parameter above the budget")
    plan.add_argument("--json", action="store_true", help="a list of settings, best first, instead of a text")
    plan.set_defaults(run=_plan)

    check = commands.add_parser("check", help="read a dataset and list the rows that cannot be used")
    check.add_argument("file", type=Path)
    check.add_argument("--form", choices=("alpaca", "messages", "prompt-completion"), default="alpaca")
    check.add_argument("--field", action="append", default=[], metavar="PART=NAME", help="instruction=question, ...")
    check.set_defaults(run=_check)

    inspect = commands.add_parser("inspect", help="what an adapter's folder holds")
    inspect.add_argument("folder", type=Path)
    inspect.set_defaults(run=_inspect)

    expand = commands.add_parser("expand", help="write a PRoLoRA adapter as a plain PEFT LoRA")
    expand.add_argument("source", type=Path)
    expand.add_argument("target", type=Path)
    expand.set_defaults(run=_expand)
    return parser


def _plan(chosen: argparse.Namespace) -> int:
    shapes = base_models.find(chosen.model).shapes
    budget = parse_budget(chosen.budget, shapes)
    facts = planner.Facts(shapes, budget, divisible=chosen.strict, hard_cap=chosen.hard_cap)
    found = planner.suggest(facts)
    if chosen.json:
        print(json.dumps([_as_json(suggestion) for suggestion in found.prolora], indent=2))
        return 0
    print(found.note, end="\n\n")
    for suggestion in (*found.prolora, found.lora):
        name = _name(suggestion.setting)
        size = megabytes(suggestion.size_bytes)
        print(f"{name:<32}{suggestion.parameters:>14,}{size:>11} {suggestion.gap:>+8.2%}\n    {suggestion.reason}")
    return 0


def _name(setting: Setting) -> str:
    if setting.u == setting.r:
        return f"LoRA r={setting.r}"
    return f"PRoLoRA r={setting.r} u={setting.u} m={setting.m} n={setting.n}"


def _check(chosen: argparse.Namespace) -> int:
    report = read(chosen.file, _mapping(chosen))
    for reject in report.rejects:
        print(reject.reason)
    fields = ", ".join(f"{part} = {name}" for part, name in report.mapping.fields.items() if name)
    kept = f"{len(report.rows)} kept, {len(report.rejects)} rejected"
    print(f"{report.read} rows read as {report.mapping.form} ({fields}): {kept}.")
    return 1 if report.rejects else 0


def _mapping(chosen: argparse.Namespace) -> Mapping | None:
    if not chosen.field:
        return None
    if wrong := [field for field in chosen.field if "=" not in field]:
        raise DatasetError(f"“{wrong[0]}” is not PART=NAME. Write for example instruction=question.")
    return Mapping(chosen.form, dict(field.split("=", 1) for field in chosen.field))


def _as_json(suggestion: planner.Suggestion) -> dict[str, Any]:
    return asdict(suggestion.setting) | {
        "parameters": suggestion.parameters,
        "bytes": suggestion.size_bytes,
        "reason": suggestion.reason,
    }


def _inspect(chosen: argparse.Namespace) -> int:
    found = adapter_file.read(chosen.folder)
    config = found.config
    print(f"{config['peft_type']} for {config.get('base_model_name_or_path') or 'a base that it does not name'}")
    print(f"{found.parameters:,} parameters in {len(found.shapes)} tensors of {', '.join(found.dtypes)}")
    print(f"{found.file_bytes:,} bytes on disk")
    for setting, modules in _by_setting(found).items():
        print(f"{setting} on {len(modules)} layers, the first {modules[0]}")
    return 0


def _by_setting(found: adapter_file.AdapterFile) -> dict[str, list[str]]:
    settings: dict[str, list[str]] = {}
    for module in found.modules:
        settings.setdefault(_name(adapter_file.layout(found.config, module).setting), []).append(module)
    return settings


def _expand(chosen: argparse.Namespace) -> int:
    from prolora.export import to_lora  # here, since it loads torch

    print(f"Written to {to_lora(chosen.source, chosen.target)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
