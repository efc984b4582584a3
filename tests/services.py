"""The real PostgreSQL and Redis of the tests.

In this order: what TEST_DATABASE_URL and TEST_REDIS_URL name, a server on 127.0.0.1 at its usual port that lets us
in, one from Debian's packages that is started for this run. Where none is to be had the run fails and says so.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, make_url, text

from bench import servers
from bench.servers import Server
from db import session

USUAL_POSTGRESQL = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
USUAL_REDIS = "redis://127.0.0.1:6379/0"


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a server on which we may make databases."""
    if found := running("TEST_DATABASE_URL", USUAL_POSTGRESQL):
        yield found
        return
    with servers.postgresql() as server:
        yield server.url


@contextmanager
def redis() -> Iterator[str]:
    """The URL of a server that others may use too: keys of one's own, and never FLUSHALL."""
    if found := running("TEST_REDIS_URL", USUAL_REDIS):
        yield found
        return
    with servers.redis_server() as server:
        yield server.url


def running(variable: str, usual: str) -> str | None:
    if named := os.environ.get(variable):
        return named
    return usual if Server(usual, []).answers() else None


@contextmanager
def database(server: str, template: str = "template0") -> Iterator[str]:
    """A database of its own on that server, a copy of the template."""
    name = f"studio_test_{uuid.uuid4().hex[:12]}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    try:
        yield url
    finally:
        session.engine(url).dispose()
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def execute(server: str, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
