"""The process that fetches and reads one upload: started, attended, and what it may write to the upload's row."""

import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from sqlalchemy import Update, select, update

from app.children import Child
from db import files
from db.models import Upload, now
from db.session import session
from db.settings import settings

FETCHING, READING, READY, FAILED = "fetching", "reading", "ready", "failed"
UNDER_WAY = (FETCHING, READING)
ATTENDING = "attending"  # the threads that do
PATIENCE = 2.0  # seconds for one that is given up to end by itself; one that waits for a hub does not
# Not `-m app.intake`: each process that reads for it would begin by importing that module, with all it needs.
READ = "import sys; from app.intake import read; read(sys.argv[1], int(sys.argv[2]))"
LOOK = 0.5  # seconds between two looks at whether a reading is still wanted


def start(key: str, attempt: int) -> None:
    command = [sys.executable, "-c", READ, key, str(attempt)]
    env = {"STUDIO_DATA": str(settings().data.resolve())}
    child = Child("reader", command, env, files.intake_log(), PATIENCE)
    child.start()
    threading.Thread(target=_attend, args=(child, key, attempt), name=f"{ATTENDING} {key}", daemon=True).start()


def write(key: str, attempt: int, **values: Any) -> bool:
    """Change the row of a reading; whether it is still wanted."""
    with session() as s:
        return bool(s.execute(_under_way(key, attempt).values(updated_at=now(), **values)).rowcount)  # type: ignore[attr-defined]


def _under_way(key: str, attempt: int) -> Update:
    return update(Upload).where(Upload.key == key, Upload.attempt == attempt, Upload.state.in_(UNDER_WAY))


def _attend(child: Child, key: str, attempt: int) -> None:
    """A reader that dies without a word leaves one here; one that is given up ends, even while a hub is silent."""
    if child.process is None:
        return
    while child.process.poll() is None and _wanted(key, attempt):
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(LOOK)
    child.end()
    died = f"The reader stopped in the middle (exit {child.process.returncode}). Upload the file again."
    write(key, attempt, state=FAILED, error=died)
    if not _is_there(key):
        shutil.rmtree(files.upload_dir(key), ignore_errors=True)


def _wanted(key: str, attempt: int) -> bool:
    with session() as s:
        ours = (Upload.key == key, Upload.attempt == attempt, Upload.state.in_(UNDER_WAY))
        return s.scalar(select(Upload.id).where(*ours)) is not None


def _is_there(key: str) -> bool:
    with session() as s:
        return s.scalar(select(Upload.id).where(Upload.key == key)) is not None
