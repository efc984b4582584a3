"""What every test shares: no hub, a real PostgreSQL where one is asked for, no skips that nobody sees."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from collections.abc import Iterator

import pytest

from db.session import engine, migrate
from tests import services

# Tests that may be skipped, with the reason; anything else that is skipped fails the run.
MAY_BE_SKIPPED: dict[str, str] = {}

skipped: list[str] = []


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a server on which tests make databases of their own."""
    with services.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def template(postgresql: str) -> Iterator[str]:
    """The name of a migrated database to copy."""
    with services.database(postgresql) as url:
        migrate(url)
        engine(url).dispose()  # nobody may be connected to what is copied
        yield url.rpartition("/")[2]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and report.nodeid not in MAY_BE_SKIPPED:
        skipped.append(report.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    yield
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for nodeid in skipped:
        terminalreporter.write_line(f"SKIPPED, which is not allowed: {nodeid}", red=True)
