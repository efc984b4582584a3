"""`prolora check`: read a dataset and say which rows cannot be used."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from prolora.errors import DatasetError

if TYPE_CHECKING:
    from prolora.dataset import Mapping, Report


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = commands.add_parser("check", help="read a dataset and list the rows that cannot be used")
    check.add_argument("file", type=Path)
    check.add_argument("--form", choices=("alpaca", "messages", "sharegpt", "prompt-completion"), default="alpaca")
    check.add_argument("--field", action="append", default=[], metavar="PART=NAME", help="instruction=question, ...")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.add_argument(
        "--rejects", type=Path, metavar="OUT", help="write the rejected rows to OUT as they stand in FILE"
    )
    check.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """0 when every row is kept, 1 when some are rejected; a file that cannot be used raises, which is 2."""
    from prolora.dataset import read  # here, since it loads jinja2

    report = read(chosen.file, _mapping(chosen))
    if chosen.rejects:
        _write_rejects(report, chosen.rejects)
    print(_json(report) if chosen.json else _words(report))
    return 1 if report.rejects else 0


def _write_rejects(report: "Report", path: Path) -> None:
    try:
        report.write_rejects(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be written: {error.strerror}. Choose another file for --rejects.") from error


def _json(report: "Report") -> str:
    problems = [
        {"line": reject.line, "field": reject.field, "code": reject.code, "message": reject.reason}
        for reject in report.rejects
    ]
    counts = {"rows": report.read, "kept": len(report.rows), "rejected": len(problems), "repeated": report.repeats}
    understood = {"format": report.container, "form": report.mapping.form, "fields": report.mapping.fields}
    return json.dumps({**counts, **understood, "evidence": report.evidence, "problems": problems}, ensure_ascii=False)


def _words(report: "Report") -> str:
    fields = ", ".join(f"{part} = {name}" for part, name in report.mapping.fields.items() if name)
    kept = f"{len(report.rows)} kept, {len(report.rejects)} rejected"
    repeats = f" {report.repeats} of the kept repeat an earlier one." if report.repeats else ""
    return "\n".join(
        [
            *(reject.reason for reject in report.rejects),
            *report.evidence,
            f"{report.read} rows read as {report.mapping.form} ({fields}): {kept}.{repeats}",
        ]
    )


def _mapping(chosen: argparse.Namespace) -> "Mapping | None":
    from prolora.dataset import Mapping

    if not chosen.field:
        return None
    if wrong := [field for field in chosen.field if "=" not in field]:
        raise DatasetError(f"“{wrong[0]}” is not PART=NAME. Write for example instruction=question.")
    return Mapping(chosen.form, dict(field.split("=", 1) for field in chosen.field))
