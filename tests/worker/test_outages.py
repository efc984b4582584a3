"""The database or the broker away for a while, in the middle of jobs; a real PostgreSQL behind a gate."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from db import broker, jobs
from db.models import Status, now
from db.session import engine, session
from db.settings import settings
from tests import services
from tests.db.test_broker import started
from tests.worker.conftest import Studio, add_dataset, claimed, in_background, rows_of
from tests.worker.gate import Gate
from tests.worker.test_jobs import until, worker_process
from tests.worker.test_worker import running
from worker import tasks

LEASE, RENEWAL = 2.0, 0.3  # seconds


@pytest.fixture
def direct(data: Path, postgresql: str, template: str) -> Iterator[str]:
    """The database as it is reached where nothing is wrong."""
    with services.database(postgresql, template) as url:
        yield url


@pytest.fixture
def gate(direct: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The only way to it that the settings name, for child processes too."""
    address = make_url(direct)
    with Gate(address.host or "127.0.0.1", address.port or 5432) as gate:
        through = address.set(host="127.0.0.1", port=gate.port).render_as_string(hide_password=False)
        monkeypatch.setenv("STUDIO_DATABASE_URL", through)
        monkeypatch.setenv("STUDIO_LEASE_SECONDS", str(LEASE))
        monkeypatch.setenv("STUDIO_RENEW_SECONDS", str(RENEWAL))
        settings.cache_clear()
        yield gate
        engine(through).dispose()


@pytest.fixture
def far(gate: Gate, tiny_base: Path) -> Studio:
    """A studio whose database lies behind the gate."""
    return Studio(tiny_base, add_dataset(rows_of([("Hi", "Ho")])))


def away(gate: Gate, seconds: float) -> None:
    gate.shut()
    time.sleep(seconds)
    gate.open()


def test_a_database_that_is_away_for_longer_than_a_lease_ends_no_job(far: Studio, gate: Gate) -> None:
    job_id = far.add("probe", {"steps": 40, "seconds": 0.05})
    with running("worker.reconcile"):
        thread = in_background(tasks.run_job, job_id)
        until(lambda: far.job(job_id).step > 3)
        away(gate, 2 * LEASE)
        until(lambda: far.job(job_id).status == Status.SUCCEEDED, 30)
    thread.join(10)
    job = far.job(job_id)
    assert (job.step, job.attempt, job.losses) == (40, 1, 0)


def test_an_ending_is_written_when_the_database_is_back(far: Studio, gate: Gate) -> None:
    lease = claimed(far.add("probe", {}))
    gate.shut()
    thread = in_background(tasks.finish, lease, Status.FAILED, "It fell over.", "error")
    time.sleep(1)
    gate.open()
    thread.join(20)
    job = far.job(lease.job_id)
    assert (job.status, job.reason, job.error) == (Status.FAILED, "error", "It fell over.")


def test_a_lease_that_was_lost_meanwhile_is_noticed_at_the_first_answer(far: Studio, gate: Gate, direct: str) -> None:
    job_id = far.add("probe", {"steps": 10_000, "seconds": 0.05})
    thread = in_background(tasks.run_job, job_id)
    until(lambda: far.job(job_id).step > 3)
    gate.shut()
    lose_from_elsewhere(direct)
    gate.open()
    thread.join(30)
    assert not thread.is_alive()
    job = far.job(job_id)
    assert (job.status, job.losses, job.error) == (Status.QUEUED, 1, None)


def lose_from_elsewhere(direct: str) -> None:
    program = "from db import jobs; from db.session import session; from db.models import now\n"
    program += "with session() as s: jobs.sweep(s, now(), jobs.leases(s))"
    environment = {**os.environ, "STUDIO_DATABASE_URL": direct}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_a_worker_whose_patience_ends_goes_and_says_so_by_its_code(
    far: Studio, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_OUTAGE_SECONDS", "1")
    job_id = far.add("probe", {"steps": 10_000, "seconds": 0.05})
    worker = worker_process(job_id)
    until(lambda: far.job(job_id).step > 3)
    gate.shut()
    assert worker.wait(30) == os.EX_UNAVAILABLE
    gate.open()
    with session() as s:
        jobs.sweep(s, now(), jobs.leases(s))
    assert far.job(job_id).status == Status.QUEUED  # and not failed


def test_a_worker_may_be_started_before_its_broker(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = studio.add("probe", {})
    chosen = broker.choose()
    monkeypatch.setenv("STUDIO_REDIS_URL", chosen.url)
    with running("worker", "--loglevel", "WARNING") as worker, running("worker.reconcile"):
        time.sleep(3)
        assert worker.poll() is None
        with started(chosen):
            until(lambda: studio.job(job_id).status == Status.SUCCEEDED, 60)
