"""What a person can do with benchmarks: import their test items, which datasets are then searched for.

Nothing but hashes of an item's words is kept.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.services import surveys
from db import files
from prolora.benchmarks import BenchmarkError, Items, read_items
from prolora.dataset import overlap
from prolora.dataset.overlap import Fingerprints, FingerprintsError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".csv")
MOST_FILES = 1000
ABOUT, FINGERPRINTS = "about.json", "fingerprints.safetensors"


@dataclass(frozen=True)
class Source:
    """One of the files that a benchmark came from."""

    name: str
    sha256: str
    items: int


@dataclass(frozen=True)
class Imported:
    """A benchmark whose test items are known; `short` are those with too few words to be found anywhere."""

    name: str
    layout: str
    items: int
    short: int
    sources: tuple[Source, ...]
    imported_at: datetime


def import_benchmark(name: str, paths: Sequence[Path]) -> Imported:
    """Read files of test items, or folders of them, all of one layout; datasets are then searched anew.

    The same files again are the same benchmark; other files under a known name are refused.
    """
    target = _folder(name)
    read = [(_source(path, items), items) for path in _files(paths) for items in [read_items(path)]]
    layouts = {items.layout.name for _, items in read}
    if len(layouts) != 1:
        raise BenchmarkError(f"These files are of several benchmarks: {', '.join(sorted(layouts))}. Import each alone.")
    sources = tuple(source for source, _ in read)
    if _sound(target):
        return _known(name, sources)
    shutil.rmtree(target, ignore_errors=True)
    prints = overlap.fingerprints(text for _, items in read for text in items.texts)
    made = Imported(name, layouts.pop(), prints.total, prints.short, sources, datetime.now(UTC))
    _write(target, made, prints)
    surveys.again(surveys.OVERLAP)
    return _read(target)


def imported() -> list[Imported]:
    """By name."""
    return [_read(path.parent) for path in sorted(files.benchmark_root().glob(f"*/{ABOUT}"))]


def fingerprints(name: str) -> Fingerprints:
    return overlap.read(_there(name) / FINGERPRINTS)


def forget(name: str) -> None:
    shutil.rmtree(_there(name))
    surveys.again(surveys.OVERLAP)


def _folder(name: str) -> Path:
    try:
        return files.benchmark_dir(name)
    except files.UnsafeName as error:
        raise BenchmarkError(str(error)) from error


def _there(name: str) -> Path:
    folder = _folder(name)
    if not folder.exists():
        raise BenchmarkError(f"No benchmark called “{name}” has been imported.")
    return folder


def _files(paths: Sequence[Path]) -> list[Path]:
    found = [each for path in paths for each in _below(path)]
    if not found:
        raise BenchmarkError(f"There is no file of test items: give files that end in {', '.join(SUFFIXES)}.")
    if len(found) > MOST_FILES:
        raise BenchmarkError(f"These are more than {MOST_FILES} files. Give the folder of one benchmark's test items.")
    return found


def _below(path: Path) -> Iterator[Path]:
    if path.is_dir():
        return (each for each in sorted(path.iterdir()) if each.name.endswith(SUFFIXES))
    return iter([path])


def _sound(folder: Path) -> bool:
    """Not what another version wrote, nor what a forgetting that was cut off left."""
    try:
        overlap.read(folder / FINGERPRINTS)
    except FingerprintsError:
        return False
    return (folder / ABOUT).is_file()


def _source(path: Path, items: Items) -> Source:
    with path.open("rb") as file:
        return Source(path.name, hashlib.file_digest(file, "sha256").hexdigest(), len(items.texts))


def _known(name: str, sources: tuple[Source, ...]) -> Imported:
    known = _read(_folder(name))
    if known.sources != sources:
        raise BenchmarkError(f"A benchmark called “{name}” was imported from other files. Forget it first.")
    return known


def _write(target: Path, made: Imported, prints: Fingerprints) -> None:
    about = asdict(made) | {"imported_at": made.imported_at.isoformat()}
    with files.write_aside(target) as folder:
        overlap.write(folder / FINGERPRINTS, prints)
        (folder / ABOUT).write_text(json.dumps(about, ensure_ascii=False, indent=1), encoding="utf-8")


def _read(folder: Path) -> Imported:
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    sources = tuple(Source(**each) for each in about["sources"])
    return Imported(**about | {"sources": sources, "imported_at": datetime.fromisoformat(about["imported_at"])})
