"""Counts what waits, one survey at a time, each in a process of its own that ends with this one."""

import sys
import threading
import time
import traceback

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from app import survey
from app.children import Child
from app.services import surveys
from db import files
from db.models import Survey, now
from db.session import session
from db.settings import settings

PAUSE = 1.0  # seconds between two looks for what waits


def attend() -> None:
    """Begin anew what was interrupted when the studio stopped, and from now on count whatever waits."""
    begin_anew()
    threading.Thread(target=_attend, name="surveyor", daemon=True).start()


def begin_anew() -> None:
    with session() as s:
        interrupted = update(Survey).where(Survey.state == surveys.RUNNING)
        s.execute(interrupted.values(state=surveys.WAITING, done=0.0, updated_at=now()))


def count_next() -> bool:
    """Count what has waited longest, to its end; False when nothing waits."""
    taken = _take()
    if taken is None:
        return False
    try:
        status = _run(*taken)
    except OSError as error:  # no memory for a process, no room for its log
        survey.fail(*taken, f"The process that counts could not be started ({error}). Count again later.")
    else:
        if status:
            survey.fail(*taken, f"The process that counted ended with {status}. Its log: {files.survey_log()}")
    return True


def _run(dataset_id: int, kind: str) -> int:
    """The exit status of the process, when it has ended."""
    command = [sys.executable, "-m", "app.survey", str(dataset_id), kind]
    child = Child("survey", command, {"STUDIO_DATA": str(settings().data.resolve())}, files.survey_log())
    child.start()
    return child.process.wait() if child.process else 0


def _attend() -> None:
    while True:
        try:
            busy = count_next()
        except SQLAlchemyError:  # a disk that is full, a database that is gone: later, perhaps
            traceback.print_exc()
            busy = False
        if not busy:
            time.sleep(PAUSE)


def _take() -> tuple[int, str] | None:
    with session() as s:
        oldest = select(Survey).where(Survey.state == surveys.WAITING).order_by(Survey.id).limit(1).with_for_update()
        waiting = s.scalars(oldest).first()
        if waiting is None:
            return None
        waiting.state, waiting.done, waiting.error, waiting.updated_at = surveys.RUNNING, 0.0, None, now()
        return waiting.dataset_id, waiting.kind
