"""The datasets that were kept: listed, looked at, taken away."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import files
from db.models import OWNER, Dataset, Job
from db.session import session
from prolora.chat import render
from prolora.dataset import Reject, Row, StoredRows, read_rows
from prolora.dataset.forms import KNOWN, Form
from prolora.errors import DatasetError

SHOWN_SAMPLES, SHOWN_REJECTS = 5, 200
PARTS: dict[Form, tuple[str, ...]] = {form: tuple(parts) for form, parts in KNOWN.items()}
Pieces = tuple[tuple[str, bool], ...]  # text, and whether it is trained on


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
    source_hash: str
    mapping: dict[str, str]
    report: dict[str, Any]  # how the file was understood, and counts by reason
    recipe: dict[str, Any] | None  # of one made from others
    parents: tuple[tuple[int, str], ...]  # number and name of the datasets it was made from
    same_file: tuple[tuple[int, str], ...]  # of the others that were made of the same file
    rejects: tuple[Reject, ...]
    samples: tuple[Pieces, ...]


@dataclass(frozen=True)
class Kept:
    id: int
    new: bool


def add(dataset: Dataset) -> Kept:
    """Make it a row; the same rows again are the same dataset."""
    try:
        with session() as s:
            s.add(dataset)
            s.flush()
            return Kept(dataset.id, new=True)
    except IntegrityError:  # somebody kept the same rows a moment ago
        return Kept(find_content(dataset.content_hash) or 0, new=False)


def listing() -> list[Line]:
    """Newest first."""
    with session() as s:
        found = s.scalars(select(Dataset).where(Dataset.owner_id == OWNER).order_by(Dataset.id.desc())).all()
        return [_line(s, dataset) for dataset in found]


def detail(dataset_id: int) -> Detail:
    with session() as s:
        dataset = _mine(s, dataset_id)
        line, digest = _line(s, dataset), dataset.content_hash
        parents = _named(s, Dataset.id.in_(map(int, (dataset.recipe or {}).get("parents", ()))))
        same_file = _named(s, (Dataset.source_hash == dataset.source_hash) & (Dataset.id != dataset_id))
    rows = _rows(dataset)
    return Detail(
        line=line,
        content_hash=digest,
        source_hash=dataset.source_hash,
        mapping=dataset.mapping,
        report=dataset.report,
        recipe=dataset.recipe,
        parents=parents,
        same_file=same_file,
        rejects=read_rejects(rejects_file(dataset_id)),
        samples=samples_of(islice(rows, SHOWN_SAMPLES)),
    )


def open_rows(dataset_id: int) -> StoredRows:
    with session() as s:
        return _rows(_mine(s, dataset_id))


def _rows(dataset: Dataset) -> StoredRows:
    path = files.dataset_rows(dataset.content_hash)
    try:
        return read_rows(path)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"The rows of “{dataset.name}” are gone or damaged: {path} cannot be read. Upload its file again."
        ) from error


def rejects_file(dataset_id: int) -> Path:
    """Every row that was left out, with its line and the reason."""
    with session() as s:
        dataset = _mine(s, dataset_id)
    path = files.dataset_rejects(dataset.content_hash)
    if not path.is_file():
        raise DatasetError(f"The rejects of “{dataset.name}” are gone. Upload its file again.")
    return path


def originals_file(dataset_id: int) -> tuple[Path, str]:
    """The rows that were left out as they stand in the file, and a name for them."""
    with session() as s:
        dataset = _mine(s, dataset_id)
        path, source = files.dataset_originals(dataset.content_hash), Path(dataset.source_name)
    if not path.is_file():
        raise DatasetError("This dataset was kept before rejects were stored as they stand. Upload its file again.")
    suffix = dataset.report.get("suffix", source.suffix)
    return path, f"{source.name.split('.')[0]}-rejects{suffix}"


def _named(s: Session, wanted: ColumnElement[bool]) -> tuple[tuple[int, str], ...]:
    found = s.execute(select(Dataset.id, Dataset.name).where(Dataset.owner_id == OWNER, wanted).order_by(Dataset.id))
    return tuple((number, name) for number, name in found)


def _mine(s: Session, dataset_id: int) -> Dataset:
    dataset = s.get(Dataset, dataset_id)
    if dataset is None or dataset.owner_id != OWNER:
        raise DatasetError(f"There is no dataset number {dataset_id}. It may be in another data folder.")
    return dataset


def samples_of(rows: Iterable[Row]) -> tuple[Pieces, ...]:
    return tuple(pieces_of(row) for row in rows)


def pieces_of(row: Row) -> Pieces:
    """The text as the model sees it, cut where training starts and stops."""
    rendered = render(list(row.messages))
    pieces: list[tuple[str, bool]] = []
    at = 0
    for start, end in rendered.spans:
        pieces += [(rendered.text[at:start], False), (rendered.text[start:end], True)]
        at = end
    return tuple((text, trained) for text, trained in (*pieces, (rendered.text[at:], False)) if text)


def find_content(content_hash: str) -> int | None:
    """The dataset of these very rows."""
    with session() as s:
        return s.scalar(select(Dataset.id).where(Dataset.owner_id == OWNER, Dataset.content_hash == content_hash))


def find_source(source_hash: str) -> int | None:
    """The newest dataset that was made of this very file."""
    with session() as s:
        ours = select(Dataset.id).where(Dataset.owner_id == OWNER, Dataset.source_hash == source_hash)
        return s.scalar(ours.order_by(Dataset.id.desc()))


def find_fetched(name: str, config: str, split: str, commit: str) -> tuple[int, str] | None:
    """Number and name of the newest dataset that was made of this split of a hub's dataset."""
    hub, wanted = Dataset.report["hub"], {"name": name, "config": config, "split": split, "revision": commit}
    with session() as s:
        same = and_(*(hub[part].as_string() == value for part, value in wanted.items()))
        found = _named(s, same)
    return found[-1] if found else None


def read_rejects(path: Path) -> tuple[Reject, ...]:
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
