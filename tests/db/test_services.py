"""The services that the other tests stand on."""

import pytest
from sqlalchemy import create_engine, inspect, text

from bench import servers
from db import session
from tests import services


def test_a_named_server_is_taken_and_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DATABASE_URL", "postgresql+psycopg://somewhere/else")
    monkeypatch.setenv("TEST_REDIS_URL", "redis://somewhere/7")
    with services.postgresql() as rows, services.redis() as bells:
        assert (rows, bells) == ("postgresql+psycopg://somewhere/else", "redis://somewhere/7")


def test_where_nobody_listens_none_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)
    assert services.running("TEST_REDIS_URL", f"redis://127.0.0.1:{servers.free_port()}/0") is None


def test_a_program_that_is_not_there_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(servers.ServerMissing, match=r"sh tests/install-system\.sh"):
        servers.program("no-such-server")


def test_a_copy_of_the_template_has_its_tables_and_goes_at_the_end(postgresql: str, template: str) -> None:
    with services.database(postgresql, template) as url:
        assert "jobs" in inspect(session.engine(url)).get_table_names()
        name = url.rpartition("/")[2]
    server = create_engine(postgresql)
    with server.connect() as connection:
        assert connection.scalar(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}) is None
    server.dispose()


def test_what_was_committed_outlives_a_killed_server() -> None:
    with servers.postgresql() as server:
        services.execute(server.url, "CREATE TABLE kept AS SELECT 7 AS number")
        server.kill()
        assert not server.answers()
        server.start()
        engine = create_engine(server.url)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT number FROM kept")) == 7
        engine.dispose()
    assert not server.answers()
