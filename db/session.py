"""The database: one engine a URL, one transaction a `with session()`, and its schema brought up to date.

SQLite and PostgreSQL alike. A transaction should be short: SQLite has one writer at a time,
and every transaction here counts as one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, insert, make_url, select, text
from sqlalchemy.orm import Session, sessionmaker

from db.models import OWNER, Person
from db.settings import settings

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 30  # how long a writer waits for another one
# A server that is gone without a word is given up after seconds and not, as by the system's own rules, a quarter hour.
UNANSWERED = {"connect_timeout": 5, "tcp_user_timeout": 15_000}
MIGRATION_LOCK = 0x50524F4C  # any number that other users of a shared PostgreSQL server do not lock

Maker = sessionmaker[Session]


class MigrationError(Exception):
    """The database cannot be brought to the schema of this code; the text says what to do."""


@cache
def engine(url: str) -> Engine:
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        return create_engine(address, pool_pre_ping=True, connect_args=UNANSWERED)
    if address.database:
        Path(address.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = create_engine(address, connect_args={"timeout": BUSY_SECONDS})
    event.listen(made, "connect", _prepare_sqlite)
    event.listen(made, "begin", _begin_immediate)
    return made


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins no transaction of its own
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_immediate(connection: Connection) -> None:
    """A transaction that reads and then writes must own the write lock from its first statement.

    One that asks for it later is refused at once when another has written meanwhile, however long the timeout.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@cache
def _maker(url: str) -> Maker:
    return sessionmaker(engine(url), expire_on_commit=False)


@contextmanager
def session() -> Iterator[Session]:
    """One transaction: committed when the block ends well, else rolled back."""
    with _maker(settings().sql_url).begin() as opened:
        yield opened


def migrate(url: str | None = None) -> None:
    """Bring the schema up to date and make the owner; harmless when repeated or done by two at once."""
    target = engine(url or settings().sql_url)
    with target.connect() as connection, _unchecked_foreign_keys(connection), connection.begin():
        if target.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        _upgrade(connection)
        _make_owner(connection)


@contextmanager
def _unchecked_foreign_keys(connection: Connection) -> Iterator[None]:
    """SQLite alters a table by replacing it, which with foreign keys on deletes the rows that refer to it.

    The switch does nothing inside a transaction, hence the driver's own connection.
    """
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        name = connection.engine.url.render_as_string(hide_password=True)
        raise MigrationError(
            f"The database {name} cannot be brought up to date: {error}. If a newer studio has written it, "
            "start that one, or choose another data folder."
        ) from error
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise MigrationError("A migration would leave rows that refer to nothing; nothing was changed.")


def _make_owner(connection: Connection) -> None:
    if connection.scalar(select(Person.id).where(Person.id == OWNER)):
        return
    connection.execute(insert(Person).values(id=OWNER, name="owner"))
    if connection.dialect.name == "postgresql":  # whose counter does not see an id that was given
        connection.execute(text("SELECT setval(pg_get_serial_sequence('people', 'id'), :last)"), {"last": OWNER})
