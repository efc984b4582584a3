"""The command line: `prolora plan`, `check`, `inspect` and `expand`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prolora import adapter_file, cli_plan
from prolora.errors import DatasetError, StudioError

if TYPE_CHECKING:
    from prolora.dataset import Mapping


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

    cli_plan.add_to(commands)

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


def _check(chosen: argparse.Namespace) -> int:
    from prolora.dataset import read  # here, since it loads jinja2

    report = read(chosen.file, _mapping(chosen))
    for reject in report.rejects:
        print(reject.reason)
    fields = ", ".join(f"{part} = {name}" for part, name in report.mapping.fields.items() if name)
    kept = f"{len(report.rows)} kept, {len(report.rejects)} rejected"
    print(f"{report.read} rows read as {report.mapping.form} ({fields}): {kept}.")
    return 1 if report.rejects else 0


def _mapping(chosen: argparse.Namespace) -> "Mapping | None":
    from prolora.dataset import Mapping

    if not chosen.field:
        return None
    if wrong := [field for field in chosen.field if "=" not in field]:
        raise DatasetError(f"“{wrong[0]}” is not PART=NAME. Write for example instruction=question.")
    return Mapping(chosen.form, dict(field.split("=", 1) for field in chosen.field))


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
        settings.setdefault(cli_plan.name(adapter_file.layout(found.config, module).setting), []).append(module)
    return settings


def _expand(chosen: argparse.Namespace) -> int:
    from prolora.export import to_lora  # here, since it loads torch

    print(f"Written to {to_lora(chosen.source, chosen.target)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
