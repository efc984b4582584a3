"""A database that is away for a while: what can wait is written when it answers again."""

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from db.session import session
from db.settings import settings

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
T = TypeVar("T")


class DatabaseAway(Exception):  # noqa: N818
    """The database cannot be reached, or has not answered for as long as one waits for it."""


def once(work: Callable[[Session], T]) -> T:
    """One transaction, tried once; DatabaseAway when it cannot be had now."""
    try:
        with session() as s:
            return work(s)
    except DBAPIError as error:
        if not is_outage(error):
            raise
        raise DatabaseAway(f"The database does not answer: {error.orig}") from error


def patiently(work: Callable[[Session], T], patience: float | None = None) -> T:
    """One transaction, tried again until the database is back; `work` may run several times and builds its rows anew.

    The answer to a commit can be lost, so what was written may be there already when it is tried again.
    """
    deadline = time.monotonic() + (settings().outage_seconds if patience is None else patience)
    pause = FIRST_PAUSE
    while True:
        try:
            return once(work)
        except DatabaseAway:
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def is_outage(error: DBAPIError) -> bool:
    """Nothing that asking again could not mend: SQLite calls a table that is not there an operational error too."""
    if isinstance(error.orig, sqlite3.OperationalError):
        return error.orig.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
