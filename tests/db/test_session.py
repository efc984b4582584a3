import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from db import session
from db.models import OWNER, Base, Dataset, Job, Person, now
from db.settings import settings


def test_the_migrations_make_exactly_the_tables_of_the_models(database_url: str) -> None:
    with session.engine(database_url).connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "target_metadata": Base.metadata}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_the_migrations_name_every_constraint_as_the_models_do(database_url: str) -> None:
    with session.engine(database_url).connect() as connection:
        found = inspect(connection)
        for table in Base.metadata.sorted_tables:
            assert found.get_pk_constraint(table.name)["name"] == table.primary_key.name
            names = {key["name"] for key in found.get_foreign_keys(table.name)}
            assert names == {str(key.name) for key in table.foreign_key_constraints}
            for key in found.get_foreign_keys(table.name):
                [twin] = [k for k in table.foreign_key_constraints if k.name == key["name"]]
                assert key["options"].get("ondelete") == twin.ondelete


def test_a_dataset_of_an_older_studio_is_kept_with_an_empty_report(empty_database: str) -> None:
    with session.engine(empty_database).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(session.MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "001")
        connection.execute(text("INSERT INTO people (id, name) VALUES (1, 'owner')"))
        columns = "id, owner_id, name, source_name, source_hash, content_hash, form, mapping, kept, rejected, held_out"
        values = "7, 1, 'old', 'old.csv', 'f', 'c', 'alpaca', '{}', 3, 2, 1, CURRENT_TIMESTAMP"
        connection.execute(text(f"INSERT INTO datasets ({columns}, created_at) VALUES ({values})"))
    session.migrate(empty_database)
    with session.session() as s:
        old = s.get_one(Dataset, 7)
    assert (old.name, old.kept, old.report, old.recipe) == ("old", 3, {}, None)


def test_migrating_makes_the_owner_and_may_be_repeated(database_url: str) -> None:
    session.migrate(database_url)
    with session.session() as s:
        people = s.query(Person).all()
        assert [(person.id, person.name) for person in people] == [(OWNER, "owner")]


def test_migrating_takes_less_than_a_second(empty_database: str) -> None:
    start = time.monotonic()
    session.migrate(empty_database)
    session.migrate(empty_database)
    assert time.monotonic() - start < 1


def test_several_may_migrate_at_once(empty_database: str) -> None:
    program = "from db import session; session.migrate()"
    # A new process each: Alembic's own state is not made for threads.
    rivals = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [rival.wait(60) for rival in rivals] == [0, 0, 0]


def test_a_person_added_after_the_owner_gets_another_id(database_url: str) -> None:
    with session.session() as s:
        person = Person(name="second")
        s.add(person)
    assert person.id != OWNER


def test_a_database_of_a_newer_studio_is_refused_with_a_sentence_and_left_alone(database_url: str) -> None:
    with session.engine(database_url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    with pytest.raises(session.MigrationError, match=r"newer studio"):
        session.migrate(database_url)
    with session.engine(database_url).connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "later"


def test_foreign_keys_hold_after_a_migration(database_url: str) -> None:
    with pytest.raises(IntegrityError), session.session() as s:
        s.add(Job(owner_id=OWNER, dataset_id=404, name="x", plan={}, parameters=1))


def test_a_failed_block_leaves_nothing(database_url: str) -> None:
    two = [{"name": "nobody"}, {"name": "owner"}]
    with pytest.raises(IntegrityError), session.session() as s:
        s.add_all(Person(**values) for values in two)
    with session.session() as s:
        assert s.query(Person).count() == 1


def test_what_was_read_may_be_used_after_its_transaction(database_url: str, dataset_id: int) -> None:
    with session.session() as s:
        dataset = s.get_one(Dataset, dataset_id)
    assert dataset.name == "tickets"


def test_times_come_back_aware_and_in_utc(database_url: str, dataset_id: int) -> None:
    with session.session() as s:
        made = s.get_one(Dataset, dataset_id).created_at
    assert made.utcoffset() is not None
    assert abs((now() - made).total_seconds()) < 60


def test_writers_that_read_first_wait_for_one_another(database_url: str, dataset_id: int) -> None:
    """The case that SQLite's own, deferred transactions lose: read, then write what was read plus one."""
    together = threading.Barrier(6)

    def add(_: int) -> None:
        together.wait()
        for _turn in range(10):
            with session.session() as s:
                dataset = s.get_one(Dataset, dataset_id, with_for_update=True)
                dataset.kept += 1

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(add, range(6)))
    with session.session() as s:
        assert s.get_one(Dataset, dataset_id).kept == 9 + 60


def test_sqlite_writes_ahead_and_its_folder_is_private(data: Path) -> None:
    session.migrate()
    with sqlite3.connect(data / "studio.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert data.stat().st_mode & 0o777 == 0o700
    session.engine(settings().sql_url).dispose()


def test_a_data_folder_may_have_an_odd_name(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(data / "50 % of Zoë's #1?"))
    settings.cache_clear()
    session.migrate()
    assert [path.name for path in data.iterdir()] == ["50 % of Zoë's #1?"]
    session.engine(settings().sql_url).dispose()
