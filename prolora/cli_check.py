"""`prolora check`: read a dataset and say which rows cannot be used."""

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from prolora.errors import DatasetError

if TYPE_CHECKING:
    from prolora.dataset import Choices, Folder, Mapping, Report

FORMS = ("alpaca", "messages", "sharegpt", "prompt-completion", "text")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = commands.add_parser("check", help="read a dataset and list the rows that cannot be used")
    check.add_argument("file", type=Path)
    check.add_argument("--form", choices=FORMS, help="the form whose parts --field names; alpaca if none is given")
    check.add_argument("--field", action="append", default=[], metavar="PART=NAME", help="instruction=question, ...")
    check.add_argument("--encoding", metavar="NAME", help="of the file's text, where it is told wrongly: cp1252, ...")
    check.add_argument("--repair", action="append", default=[], metavar="CODE", help="as the report offers it")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.add_argument(
        "--rejects", type=Path, metavar="OUT", help="write the rejected rows to OUT as they stand in FILE"
    )
    check.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """0 when every row is kept, 1 when some are rejected; a file that cannot be used raises, which is 2."""
    from prolora.dataset import Folder, check  # here, since it loads jinja2 and numpy

    if chosen.rejects and chosen.file.exists() and chosen.rejects.exists() and chosen.file.samefile(chosen.rejects):
        raise DatasetError(f"{chosen.rejects} is the file that is checked. Choose another file for --rejects.")
    with TemporaryDirectory() as aside:
        folder = Folder(Path(aside))
        report = check(chosen.file, _choices(chosen), folder)
        if chosen.rejects:
            _copy(folder.originals, chosen.rejects)
        print(_json(report, folder) if chosen.json else _words(report, folder))
    return 1 if report.rejected else 0


def _copy(rejects: Path, target: Path) -> None:
    try:
        shutil.copyfile(rejects, target)
    except OSError as error:
        raise DatasetError(
            f"{target} cannot be written: {error.strerror}. Choose another file for --rejects."
        ) from error


def _rejects(folder: "Folder") -> "Iterator[dict[str, Any]]":
    with folder.rejects.open("rb") as file:
        yield from map(json.loads, file)


def _json(report: "Report", folder: "Folder") -> str:
    problems = [
        {"line": bad["line"], "field": bad["field"], "code": bad["code"], "message": bad["reason"]}
        for bad in _rejects(folder)
    ]
    counts = {"rows": report.read, "kept": report.kept, "rejected": report.rejected, "repeated": report.repeats}
    repairs = {"repaired": report.repaired, "repairs_offered": report.offered}
    understood = {"format": report.container, "form": report.form, "fields": report.fields}
    whole = {**counts, **repairs, **understood, "evidence": report.evidence, "problems": problems}
    return json.dumps(whole, ensure_ascii=False)


def _words(report: "Report", folder: "Folder") -> str:
    fields = ", ".join(f"{part} = {name}" for part, name in report.fields.items() if name)
    repeats = f" {report.repeats} of the kept repeat an earlier one." if report.repeats else ""
    kept = f"{report.kept} kept, {report.rejected} rejected.{repeats}"
    return "\n".join(
        [
            *(bad["reason"] for bad in _rejects(folder)),
            *report.evidence,
            f"{report.read} rows read as {report.form} ({fields}): {kept}",
            *(f"{code} mended {count} rows." for code, count in report.repaired.items()),
            *(f"--repair {code} would mend {count} rows." for code, count in report.offered.items()),
        ]
    )


def _choices(chosen: argparse.Namespace) -> "Choices":
    from prolora.dataset import Choices
    from prolora.dataset.forms import REPAIRS

    if unknown := set(chosen.repair) - set(REPAIRS):
        raise DatasetError(f"There is no repair called “{min(unknown)}”. Choose among {', '.join(REPAIRS)}.")
    return Choices(_mapping(chosen), chosen.encoding, frozenset(chosen.repair))


def _mapping(chosen: argparse.Namespace) -> "Mapping | None":
    from prolora.dataset import Mapping

    if not chosen.field and chosen.form:
        raise DatasetError(f"--form {chosen.form} needs --field: say which field of the file is which part of it.")
    if not chosen.field:
        return None
    if wrong := [field for field in chosen.field if "=" not in field]:
        raise DatasetError(f"“{wrong[0]}” is not PART=NAME. Write for example instruction=question.")
    return Mapping(chosen.form or "alpaca", dict(field.split("=", 1) for field in chosen.field))
