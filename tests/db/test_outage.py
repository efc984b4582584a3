"""A database that is away: a real one that is stopped, or that another holds."""

import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from db import session
from db.models import OWNER, Job, Person
from db.outage import DatabaseAway, once, patiently
from db.settings import settings


def count_people(s: Session) -> int:
    return s.query(Person).count()


@pytest.fixture
def unreachable(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PostgreSQL of which nothing listens."""
    monkeypatch.setenv("STUDIO_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/studio")
    settings.cache_clear()


def test_a_server_that_does_not_listen_is_away(unreachable: None) -> None:
    with pytest.raises(DatabaseAway, match="does not answer"):
        once(count_people)


def test_patience_ends_after_its_time(unreachable: None) -> None:
    start = time.monotonic()
    with pytest.raises(DatabaseAway):
        patiently(count_people, patience=1.0)
    assert 0.3 < time.monotonic() - start < 3


def test_what_waits_is_done_when_the_database_is_back(data: Path) -> None:
    """A data folder that is mounted late."""
    session.migrate()
    session.engine(settings().sql_url).dispose()
    there, gone = data / "studio.db", data / "elsewhere"
    for path in data.glob("studio.db*"):
        path.rename(path.with_name(path.name.replace("studio.db", "elsewhere")))
    there.mkdir()  # nothing that could be opened as a database

    def mount() -> None:
        there.rmdir()
        gone.rename(there)

    threading.Timer(0.5, mount).start()
    with pytest.raises(DatabaseAway):
        once(count_people)
    assert patiently(count_people, patience=20.0) == 1


def test_a_connection_that_the_server_ended_is_made_anew(database_url: str) -> None:
    tries, ends = [], database_url.startswith("postgresql")  # SQLite has no connection that another could end

    def work(s: Session) -> int:
        tries.append(s)
        if ends and len(tries) == 1:
            with session.engine(database_url).connect() as other:
                own = s.scalar(text("SELECT pg_backend_pid()"))
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": own})
        return count_people(s)

    assert patiently(work, patience=20.0) == 1
    assert len(tries) == 1 + ends


def test_what_no_waiting_mends_is_raised_at_once(database_url: str) -> None:
    def no_such_row(s: Session) -> None:
        s.add(Job(owner_id=OWNER, dataset_id=404, name="x", plan={}, parameters=1))
        s.flush()

    with pytest.raises(IntegrityError):
        patiently(no_such_row)


def test_a_missing_table_of_sqlite_is_no_outage(data: Path) -> None:
    with pytest.raises(OperationalError) as raised:
        patiently(count_people)
    assert isinstance(raised.value.orig, sqlite3.OperationalError)
