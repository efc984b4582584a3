"""A fresh, migrated studio for each test: on SQLite, and on PostgreSQL too where TEST_DATABASE_URL names a server."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from db import session
from db.models import OWNER, Dataset, Job
from db.settings import settings

SERVER = os.environ.get("TEST_DATABASE_URL", "")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The settings of a studio whose data folder is not made yet."""
    folder = tmp_path / "data"
    monkeypatch.setenv("STUDIO_DATA", str(folder))
    monkeypatch.delenv("STUDIO_DATABASE_URL", raising=False)
    monkeypatch.delenv("STUDIO_REDIS_URL", raising=False)
    settings.cache_clear()
    yield folder
    settings.cache_clear()


@pytest.fixture(params=["sqlite", "postgresql"] if SERVER else ["sqlite"])
def empty_database(request: pytest.FixtureRequest, data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a database without tables, which the settings name."""
    if request.param == "sqlite":
        yield settings().sql_url
        session.engine(settings().sql_url).dispose()
        return
    with postgresql_database() as url:
        monkeypatch.setenv("STUDIO_DATABASE_URL", url)
        settings.cache_clear()
        yield url


@pytest.fixture
def database_url(empty_database: str) -> str:
    session.migrate(empty_database)
    return empty_database


@contextmanager
def postgresql_database() -> Iterator[str]:
    name = f"studio_test_{uuid.uuid4().hex[:12]}"
    server = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(SERVER).set(database=name).render_as_string(hide_password=False)
    try:
        yield url
    finally:
        session.engine(url).dispose()
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


@pytest.fixture
def dataset_id(database_url: str) -> int:
    dataset = Dataset(
        owner_id=OWNER,
        name="tickets",
        source_name="tickets.jsonl",
        source_hash="5" * 64,
        content_hash="c" * 64,
        form="alpaca",
        mapping={"instruction": "instruction", "output": "output"},
        kept=9,
        rejected=1,
        held_out=2,
    )
    with session.session() as s:
        s.add(dataset)
    return dataset.id


@pytest.fixture
def new_job(dataset_id: int) -> "NewJob":
    return NewJob(dataset_id)


class NewJob:
    """A job of that dataset, not yet submitted."""

    def __init__(self, dataset_id: int) -> None:
        self.dataset_id = dataset_id

    def __call__(self, **values: object) -> Job:
        plan = {"method": "prolora", "setting": {"r": 8, "u": 2, "m": 4, "n": 4}}
        usual = {"owner_id": OWNER, "dataset_id": self.dataset_id, "name": "a run", "plan": plan, "parameters": 1000}
        return Job(**{**usual, **values})
