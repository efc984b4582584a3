"""`prolora inspect`: what an adapter's folder holds, PRoLoRA or LoRA, without torch."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prolora.adapter_file import CONFIG, AdapterFile, read
from prolora.cli_plan import name
from prolora.plan import Setting

PATTERNS = ("setting_pattern", "rank_pattern", "alpha_pattern")
OPTIONS = ("rotate", "rectify", "share_along", "rotate_along", "scale_unshared", "use_dora", "use_rslora", "lora_alpha")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    inspect = commands.add_parser("inspect", help="what the folder of an adapter, PRoLoRA or LoRA, holds")
    inspect.add_argument("folder", type=Path)
    inspect.add_argument("--json", action="store_true", help="all of it as JSON instead of a text")
    inspect.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    found = read(chosen.folder)
    print(json.dumps(_as_json(found), indent=2) if chosen.json else "\n".join(_lines(found)))
    return 0


def _lines(found: AdapterFile) -> Iterator[str]:
    config = found.config
    yield f"{config['peft_type']} for {config.get('base_model_name_or_path') or 'a base that it does not name'}"
    yield f"{found.parameters:,} parameters in {len(found.shapes)} tensors of {', '.join(found.dtypes)}"
    yield f"{found.file_bytes:,} bytes on disk"
    for setting, modules in found.settings.items():
        yield f"{name(setting)} on {len(modules)} layers, the first {modules[0]}"
    for pattern in PATTERNS:
        for key, value in (config.get(pattern) or {}).items():
            yield f"{pattern}: {key} has {_words(value)}"
    yield f"{CONFIG}: {', '.join(f'{each} {config[each]}' for each in OPTIONS if each in config) or 'no options'}"


def _words(value: Any) -> str:
    return ", ".join(f"{key} = {each}" for key, each in value.items()) if isinstance(value, dict) else str(value)


def _as_json(found: AdapterFile) -> dict[str, Any]:
    config = found.config
    return {
        "method": config["peft_type"],
        "base_model": config.get("base_model_name_or_path"),
        "parameters": found.parameters,
        "tensors": len(found.shapes),
        "dtypes": found.dtypes,
        "bytes": found.file_bytes,
        "settings": [_setting(setting, modules) for setting, modules in found.settings.items()],
        "patterns": {pattern: config[pattern] for pattern in PATTERNS if config.get(pattern)},
        "options": {each: config[each] for each in OPTIONS if each in config},
    }


def _setting(setting: Setting, modules: list[str]) -> dict[str, Any]:
    return asdict(setting) | {"modules": modules}
