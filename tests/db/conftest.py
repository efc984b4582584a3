"""A fresh, migrated studio for each test, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from db import session
from db.models import OWNER, Dataset, Job
from db.settings import settings
from tests import services


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


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_database(
    backend: str, data: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The URL of a database without tables, which the settings name."""
    if backend == "sqlite":
        yield from sqlite_database()
    else:
        yield from postgresql_database(request, monkeypatch, "template0")


@pytest.fixture
def database_url(
    backend: str, data: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A migrated one; PostgreSQL copies it, which is quicker than to migrate again."""
    if backend == "sqlite":
        session.migrate()
        yield from sqlite_database()
    else:
        yield from postgresql_database(request, monkeypatch, request.getfixturevalue("template"))


def sqlite_database() -> Iterator[str]:
    yield settings().sql_url
    session.engine(settings().sql_url).dispose()


def postgresql_database(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, template: str
) -> Iterator[str]:
    with services.database(request.getfixturevalue("postgresql"), template) as url:
        monkeypatch.setenv("STUDIO_DATABASE_URL", url)
        settings.cache_clear()
        yield url


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
