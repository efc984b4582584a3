"""The process one upload is read in, and fetched in if it comes from a hub: started by app.services.readers.

It says how far it is in the upload's row, and stops, leaving nothing, as soon as that reading is given up.
"""

import errno
import hashlib
import shutil
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.services import fetching, readers, uploads
from db import files
from db.models import Upload
from db.session import session
from prolora.dataset import Folder, Report, store
from prolora.errors import DatasetError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
EVERY = 0.25  # seconds between two notes of progress


class GivenUp(Exception):  # noqa: N818 - an ending, not a fault
    """Somebody left the upload, or has it read anew."""


class Note:
    """Writes how far the reading is, and raises when it is wanted no more."""

    def __init__(self, key: str, attempt: int) -> None:
        self.key, self.attempt = key, attempt
        self._last = 0.0

    def __call__(self, share: float, rows: int) -> None:
        if time.monotonic() - self._last < EVERY:
            return
        self._last = time.monotonic()
        if not readers.write(self.key, self.attempt, done=share, rows=rows):
            raise GivenUp


def read(key: str, attempt: int) -> None:
    """Leave the upload ready or failed, with its report or a sentence."""
    staged = files.staged_dir(key, attempt)
    try:
        for earlier in files.upload_dir(key).glob("read-*"):
            shutil.rmtree(earlier, ignore_errors=True)
        staged.mkdir(mode=0o700)
        report = _read(key, attempt, staged)
    except (GivenUp, FileNotFoundError):
        shutil.rmtree(staged, ignore_errors=True)
    except Exception as error:  # noqa: BLE001  # whatever it is, the person has to be told and nothing may stay
        shutil.rmtree(staged, ignore_errors=True)
        readers.write(key, attempt, state=readers.FAILED, error=_explained(error))
    else:
        readers.write(key, attempt, state=readers.READY, report=report, done=1.0, rows=report["read"])


def _read(key: str, attempt: int, staged: Path) -> dict[str, Any]:
    row, note = _row(key), Note(key, attempt)
    if row.state == readers.FETCHING:
        fetching.bring(key, attempt, row.choices["hub"], note)
        row = _row(key)
    path = files.upload_dir(key) / row.name
    with ThreadPoolExecutor(1) as beside:
        digest = beside.submit(_sha256, path)
        report = store(path, Folder(staged), uploads.choices_of(row.choices), note)
        source = {"hub": row.choices["hub"]} if "hub" in row.choices else {}
        return account(report) | {"source_hash": digest.result()} | source


def _row(key: str) -> Upload:
    with session() as s:
        row = s.scalar(select(Upload).where(Upload.key == key))
    if row is None:
        raise GivenUp
    return row


def account(report: Report) -> dict[str, Any]:
    """The report as JSON, without its rejects, which have a file of their own."""
    whole = asdict(report) | {"form": report.form, "fields": report.fields, "rejected": report.rejected}
    return {name: value for name, value in whole.items() if name not in ("mapping", "rejects")}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _explained(error: Exception) -> str:
    if isinstance(error, DatasetError):
        return str(error)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return "The disk is full: nothing of this file was kept. Free some space and upload it again."
    traceback.print_exception(error)
    return f"The file could not be read to its end ({type(error).__name__}). The reader's log says more."
