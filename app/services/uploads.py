"""A file on its way to a dataset: taken in, read in a process of its own, looked at, mapped anew, kept or left.

The upload's row says how far it is. Whoever deletes the row, or has the file read anew, stops the process that reads.
"""

import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.services import readers
from app.services.datasets import SHOWN_SAMPLES, Kept, Pieces, add, find_content, find_source, read_rejects, samples_of
from app.services.readers import READING, READY
from db import files
from db.models import OWNER, Dataset, now
from db.models import Upload as UploadRow
from db.session import session
from prolora.dataset import Choices, Folder, Mapping, Reject, read_rows
from prolora.dataset.encodings import GUESSES
from prolora.errors import DatasetError

SAMPLE = Path(__file__).resolve().parents[2] / "static" / "samples" / "tickets.jsonl"
EXTENSIONS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet", ".gz", ".zip")
GONE = "This upload is gone: it was left, or the studio was started anew. Upload the file again."
SPARE = 64 << 20  # bytes that stay free on the disk


@dataclass(frozen=True)
class Upload:
    """A file on its way in: `key` names the private folder of our copy."""

    key: str
    name: str


@dataclass(frozen=True)
class Known:
    """A dataset that was made of the same file before."""

    id: int
    name: str
    same_rows: bool


@dataclass(frozen=True)
class Progress:
    """How far an upload is."""

    state: str
    done: float  # share of the file
    rows: int
    error: str | None
    size: int = 0  # bytes of a file that is fetched, once they are known


@dataclass(frozen=True)
class Preview:
    """A file read whole but not kept. Without a mapping nobody knows yet what its fields mean."""

    upload: Upload
    report: dict[str, Any]  # prolora.dataset.Report without its rejects, as JSON
    mapping: Mapping | None
    choices: Choices
    rejects: tuple[Reject, ...]
    samples: tuple[Pieces, ...]
    known: Known | None

    @property
    def unconfirmed(self) -> bool:
        """Whether the encoding is a guess that only a reader of the language can confirm."""
        return self.report["encoding"] in GUESSES and self.choices.encoding is None


def receive(path: Path, name: str) -> Upload:
    """Take a file out of the page's upload folder at once: whoever knows a path there can read it."""
    if not Path(name).name.lower().endswith(EXTENSIONS):
        raise DatasetError(f"“{name}” is no file of rows. Upload one that ends in {', '.join(EXTENSIONS)}.")
    safe = re.sub(r"[^\w. -]", "_", Path(name).name).lstrip(".")[-100:]
    safe = safe if "." in safe else f"rows.{safe}"  # of a name that is nothing but an ending
    check_space(path.stat().st_size)
    upload = Upload(secrets.token_hex(16), safe)
    with files.new_upload_dir(upload.key) as folder:
        _copy(path, folder / upload.name)
        with session() as s:
            s.add(UploadRow(owner_id=OWNER, key=upload.key, name=upload.name, state=READING, choices={}))
    return upload


def sample() -> Upload:
    """The dataset that comes with the studio."""
    return receive(SAMPLE, SAMPLE.name)


def begin(upload: Upload, choices: Choices | None = None) -> None:
    """Read the file, or read it anew with other choices, in a process of its own."""
    readers.start(upload.key, renew(upload, choices or Choices()))


def progress(upload: Upload) -> Progress:
    with session() as s:
        row = _mine(s, upload)
        return Progress(row.state, row.done, row.rows, row.error, row.choices.get("hub", {}).get("size", 0))


def preview(upload: Upload) -> Preview:
    """What the file was read as; raises what reading it raised."""
    with session() as s:
        row = _mine(s, upload)
        found = Upload(row.key, row.name)  # of a file that was fetched, the name that it got
        state, error, report, choices = row.state, row.error, row.report, choices_of(row.choices)
        folder = Folder(files.staged_dir(row.key, row.attempt))
    if state != READY:
        raise DatasetError(error or f"“{upload.name}” is still being read.")
    form, fields = report["form"], report["fields"]
    return Preview(
        upload=found,
        report=report,
        mapping=Mapping(form, fields) if form else None,
        choices=choices,
        rejects=read_rejects(folder.rejects),
        samples=samples_of(islice(read_rows(folder.rows), SHOWN_SAMPLES)),
        known=_known(report),
    )


def overruled(upload: Upload, encoding: str | None) -> str | None:
    """The encoding, where a person has chosen it: another than the file's bytes tell, or one that they let guess."""
    with session() as s:
        row = _mine(s, upload)
        told, chosen = _encoding(row), row.choices.get("encoding")
    return None if chosen is None and encoding == told and told not in GUESSES else encoding


def _encoding(row: UploadRow) -> str | None:
    """The one that the file was last read in, also while it is read anew."""
    found: str | None = row.report.get("encoding", row.choices.get("read_in"))
    return found


def latest() -> Upload | None:
    """The person's newest upload that is neither kept nor left."""
    with session() as s:
        row = s.scalar(select(UploadRow).where(UploadRow.owner_id == OWNER).order_by(UploadRow.id.desc()).limit(1))
        return Upload(row.key, row.name) if row else None


def discard(upload: Upload) -> None:
    """Nothing stays of it; a process that still reads it ends by itself."""
    with session() as s:
        s.execute(delete(UploadRow).where(UploadRow.key == upload.key, UploadRow.owner_id == OWNER))
    shutil.rmtree(files.upload_dir(upload.key), ignore_errors=True)


def keep(upload: Upload, name: str) -> Kept:
    """Make it a dataset; the same rows again are the same dataset."""
    shown = preview(upload)
    report = shown.report
    if shown.unconfirmed:
        raise DatasetError(f"Say first in which encoding “{upload.name}” is written: {report['encoding']} is a guess.")
    if not report["kept"]:
        raise DatasetError(
            f"No row of “{upload.name}” can be used. Mend the rows listed below, or map its fields anew."
        )
    known = find_content(report["content_hash"])
    if known is None or not files.dataset_rows(report["content_hash"]).is_file():
        _store(shown)
    kept = Kept(known, new=False) if known else _insert(shown, name.strip() or shown.upload.name.split(".")[0])
    discard(upload)
    return kept


def _store(shown: Preview) -> None:
    """The files of the dataset, also of one that is known and has lost them."""
    key, source, target = shown.upload.key, shown.upload.name, files.dataset_dir(shown.report["content_hash"])
    with session() as s:
        staged = files.staged_dir(key, _mine(s, shown.upload).attempt)
    if not Folder(target).rows.is_file():
        shutil.rmtree(target, ignore_errors=True)
    with files.write_aside(target) as folder:
        for path in staged.iterdir():
            _copy(path, folder / path.name)
        _copy(files.upload_dir(key) / source, folder / f"source.{extension(source)}")


def clear() -> None:
    """What a studio that is gone left half-way."""
    with session() as s:
        s.execute(delete(UploadRow))
    files.clear_uploads()


def choices_of(stored: dict[str, Any]) -> Choices:
    mapping = Mapping(stored["form"], stored["fields"]) if stored.get("form") else None
    return Choices(mapping, stored.get("encoding"), frozenset(stored.get("repairs", ())))


def extension(name: str) -> str:
    """Without its dot; of an archive of one file with what is in it: jsonl.gz."""
    suffixes = Path(name.lower()).suffixes
    inner = suffixes[-2:-1] if suffixes[-1] == ".gz" else []
    return "".join([*(suffix for suffix in inner if suffix in EXTENSIONS), suffixes[-1]])[1:]


def renew(upload: Upload, choices: Choices) -> int:
    mapping = {"form": choices.mapping.form, "fields": choices.mapping.fields} if choices.mapping else {}
    with session() as s:
        row = _mine(s, upload)
        if not (files.upload_dir(row.key) / row.name).is_file():
            raise DatasetError(f"“{row.name}” has not been fetched. Leave it, and fetch it again.")
        fetched = {"hub": row.choices["hub"]} if "hub" in row.choices else {}
        chosen = {**mapping, "encoding": choices.encoding, "repairs": sorted(choices.repairs)}
        row.choices = {**fetched, **chosen, "read_in": _encoding(row)}
        row.attempt += 1
        row.state, row.done, row.rows, row.error, row.report, row.updated_at = READING, 0.0, 0, None, {}, now()
        return row.attempt


def _mine(s: Session, upload: Upload) -> UploadRow:
    row = s.scalar(select(UploadRow).where(UploadRow.key == upload.key, UploadRow.owner_id == OWNER))
    if row is None:
        raise DatasetError(GONE)
    return row


def _known(report: dict[str, Any]) -> Known | None:
    same = find_content(report["content_hash"]) if report["kept"] else None
    found = same or find_source(report["source_hash"])
    if found is None:
        return None
    with session() as s:
        return Known(found, s.get_one(Dataset, found).name, same is not None)


def _insert(shown: Preview, name: str) -> Kept:
    report = shown.report
    return add(
        Dataset(
            owner_id=OWNER,
            name=name[:120],
            source_name=shown.upload.name[:255],
            report={**report, "repairs": sorted(shown.choices.repairs), "encoding_chosen": shown.choices.encoding},
            form=report["form"],
            mapping=report["fields"],
            **{part: report[part] for part in ("source_hash", "content_hash", "kept", "rejected", "held_out")},
        )
    )


def _copy(path: Path, target: Path) -> None:
    """Without a second copy on the disk where the file is one of ours, which nobody writes to any more."""
    if path.resolve().is_relative_to(files.uploads_dir()):
        with suppress(OSError):
            os.link(path, target)
            return
    shutil.copyfile(path, target)


def check_space(size: int) -> None:
    """For the file and for its rows, which take about as much again."""
    free = shutil.disk_usage(files.uploads_dir()).free
    if free < 2 * size + SPARE:
        raise DatasetError(
            f"The disk has {free >> 20} MB left, and this file needs about {(2 * size + SPARE) >> 20} MB. Free some."
        )
