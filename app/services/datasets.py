"""What a person can do with datasets: look at a file, say what its fields mean, keep it, read it again."""

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import files
from db.models import OWNER, Dataset, Job
from db.session import session
from prolora.chat import render
from prolora.dataset import Mapping, Reject, Report, Row, look, read, read_rows, split, write_rows
from prolora.dataset.forms import KNOWN, Form
from prolora.errors import DatasetError

SAMPLE = Path(__file__).resolve().parents[2] / "static" / "samples" / "tickets.jsonl"
SHOWN_SAMPLES, SHOWN_REJECTS = 5, 200
EXTENSIONS = {".json", ".jsonl", ".csv", ".tsv"}
PARTS: dict[Form, tuple[str, ...]] = {form: tuple(parts) for form, parts in KNOWN.items()}
Pieces = tuple[tuple[str, bool], ...]  # text, and whether it is trained on


@dataclass(frozen=True)
class Upload:
    """A file on its way in: `key` names the private folder of our copy."""

    key: str
    name: str


@dataclass(frozen=True)
class Preview:
    """A file read whole but not kept. Without a mapping nobody knows yet what its fields mean."""

    upload: Upload
    columns: tuple[tuple[str, int], ...]
    mapping: Mapping | None
    evidence: tuple[str, ...] = ()  # how the file was understood
    repeats: int = 0  # kept rows that say what an earlier one says
    kept: int = 0
    rejected: int = 0
    held_out: int = 0
    rejects: tuple[Reject, ...] = ()
    samples: tuple[Pieces, ...] = ()


@dataclass(frozen=True)
class Kept:
    id: int
    new: bool


@dataclass(frozen=True)
class Line:
    """A dataset in a list."""

    id: int
    name: str
    source_name: str
    form: str
    kept: int
    rejected: int
    held_out: int
    jobs: int
    created_at: datetime


@dataclass(frozen=True)
class Detail:
    line: Line
    content_hash: str
    mapping: dict[str, str]
    rejects: tuple[Reject, ...]
    samples: tuple[Pieces, ...]


def receive(path: Path, name: str) -> Upload:
    """Copy a file out of the page's upload folder at once: whoever knows a path there can read it."""
    extension = Path(name).suffix.lower()
    if extension not in EXTENSIONS:
        raise DatasetError(f"“{name}” is no file of rows. Upload one that ends in .json, .jsonl, .csv or .tsv.")
    safe = re.sub(r"[^\w. -]", "_", Path(name).name).lstrip(".")[-100:]
    upload = Upload(secrets.token_hex(16), safe)
    _path(upload).parent.mkdir(mode=0o700)
    shutil.copyfile(path, _path(upload))
    return upload


def sample() -> Upload:
    """The dataset that comes with the studio."""
    return receive(SAMPLE, SAMPLE.name)


def discard(upload: Upload) -> None:
    shutil.rmtree(_path(upload).parent, ignore_errors=True)


def preview(upload: Upload, mapping: Mapping | None = None) -> Preview:
    """Read the file as it would be kept; `mapping` overrules the guess."""
    seen = look(_path(upload))
    chosen = mapping or seen.guess
    columns = tuple(seen.columns.items())
    if chosen is None:
        return Preview(upload, columns, None, seen.evidence)
    report = read(_path(upload), chosen)
    return Preview(
        upload=upload,
        columns=columns,
        mapping=chosen,
        evidence=seen.evidence,
        repeats=report.repeats,
        kept=len(report.rows),
        rejected=len(report.rejects),
        held_out=len(split(report.rows)[1]),
        rejects=tuple(report.rejects[:SHOWN_REJECTS]),
        samples=_samples(report.rows),
    )


def keep(upload: Upload, name: str, mapping: Mapping | None = None) -> Kept:
    """Store the good rows and list the bad ones; the same rows again are the same dataset."""
    path = _path(upload)
    report = read(path, mapping)
    if not report.rows:
        raise DatasetError(
            f"No row of “{upload.name}” can be used. Mend the rows listed below, or map its fields anew."
        )
    if known := _find(report.content_hash):
        discard(upload)
        return Kept(known, new=False)
    _write(report, path)
    kept = _insert(report, upload, name.strip() or Path(upload.name).stem)
    discard(upload)
    return kept


def listing() -> list[Line]:
    """Newest first."""
    with session() as s:
        found = s.scalars(select(Dataset).where(Dataset.owner_id == OWNER).order_by(Dataset.id.desc())).all()
        return [_line(s, dataset) for dataset in found]


def detail(dataset_id: int) -> Detail:
    with session() as s:
        dataset = _mine(s, dataset_id)
        line, digest, mapping = _line(s, dataset), dataset.content_hash, dataset.mapping
    rows = read_rows(files.dataset_rows(digest))
    return Detail(line, digest, mapping, _read_rejects(files.dataset_rejects(digest)), _samples(rows))


def rejects_file(dataset_id: int) -> Path:
    """Every row that was left out, with its line and the reason."""
    with session() as s:
        return files.dataset_rejects(_mine(s, dataset_id).content_hash)


def originals_file(dataset_id: int) -> tuple[Path, str]:
    """The rows that were left out as they stand in the file, and a name for them."""
    with session() as s:
        dataset = _mine(s, dataset_id)
        path, source = files.dataset_originals(dataset.content_hash), Path(dataset.source_name)
    if not path.is_file():
        raise DatasetError("This dataset was kept before rejects were stored as they stand. Upload its file again.")
    return path, f"{source.stem}-rejects{source.suffix}"


def _mine(s: Session, dataset_id: int) -> Dataset:
    dataset = s.get(Dataset, dataset_id)
    if dataset is None or dataset.owner_id != OWNER:
        raise DatasetError(f"There is no dataset number {dataset_id}. It may be in another data folder.")
    return dataset


def _path(upload: Upload) -> Path:
    return files.uploads_dir() / upload.key / upload.name


def _samples(rows: Iterable[Row]) -> tuple[Pieces, ...]:
    return tuple(_pieces(row) for row in islice(rows, SHOWN_SAMPLES))


def _pieces(row: Row) -> Pieces:
    """The text as the model sees it, cut where training starts and stops."""
    rendered = render(list(row.messages))
    pieces: list[tuple[str, bool]] = []
    at = 0
    for start, end in rendered.spans:
        pieces += [(rendered.text[at:start], False), (rendered.text[start:end], True)]
        at = end
    return tuple((text, trained) for text, trained in (*pieces, (rendered.text[at:], False)) if text)


def _find(content_hash: str) -> int | None:
    with session() as s:
        return s.scalar(select(Dataset.id).where(Dataset.owner_id == OWNER, Dataset.content_hash == content_hash))


def _write(report: Report, source: Path) -> None:
    digest = report.content_hash
    with files.write_aside(files.dataset_dir(digest)) as folder:
        shutil.copyfile(source, folder / f"source{source.suffix}")
        write_rows(folder / files.dataset_rows(digest).name, report.rows)
        report.write_rejects(folder / files.dataset_originals(digest).name)
        with (folder / files.dataset_rejects(digest).name).open("w", encoding="utf-8") as file:
            for reject in report.rejects:
                line = {
                    "line": reject.line,
                    "reason": reject.reason,
                    "code": reject.code,
                    "raw": reject.raw,
                    "field": reject.field,
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _insert(report: Report, upload: Upload, name: str) -> Kept:
    with _path(upload).open("rb") as file:
        source_hash = hashlib.file_digest(file, "sha256").hexdigest()
    dataset = Dataset(
        owner_id=OWNER,
        name=name[:120],
        source_name=upload.name[:255],
        source_hash=source_hash,
        content_hash=report.content_hash,
        form=report.mapping.form,
        mapping=dict(report.mapping.fields),
        kept=len(report.rows),
        rejected=len(report.rejects),
        held_out=len(split(report.rows)[1]),
    )
    try:
        with session() as s:
            s.add(dataset)
            s.flush()
            return Kept(dataset.id, new=True)
    except IntegrityError:  # somebody kept the same rows a moment ago
        return Kept(_find(report.content_hash) or 0, new=False)


def _read_rejects(path: Path) -> tuple[Reject, ...]:
    with path.open(encoding="utf-8") as file:
        return tuple(Reject(**json.loads(line)) for line in islice(file, SHOWN_REJECTS))


def _line(s: Session, dataset: Dataset) -> Line:
    jobs = s.scalar(select(func.count()).select_from(Job).where(Job.dataset_id == dataset.id)) or 0
    return Line(
        id=dataset.id,
        name=dataset.name,
        source_name=dataset.source_name,
        form=dataset.form,
        kept=dataset.kept,
        rejected=dataset.rejected,
        held_out=dataset.held_out,
        jobs=jobs,
        created_at=dataset.created_at,
    )
