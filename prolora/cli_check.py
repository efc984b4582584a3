"""`prolora check`: read a dataset and say which rows cannot be used."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from prolora.errors import DatasetError

if TYPE_CHECKING:
    from prolora.dataset import Mapping


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = commands.add_parser("check", help="read a dataset and list the rows that cannot be used")
    check.add_argument("file", type=Path)
    check.add_argument("--form", choices=("alpaca", "messages", "sharegpt", "prompt-completion"), default="alpaca")
    check.add_argument("--field", action="append", default=[], metavar="PART=NAME", help="instruction=question, ...")
    check.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
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
