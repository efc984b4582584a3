"""The worker as it runs: Celery, a real broker, the reconcile loop."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from db import broker
from db.models import Status
from db.settings import settings
from tests.db.test_broker import started
from tests.worker.conftest import Studio
from tests.worker.test_jobs import children_of, long_plan, training, until

CELERY = ("celery", "-A", "worker.tasks:queue", "worker", "-P", "threads", "-c", "1", "-Q", "jobs", "-l", "WARNING")


@contextmanager
def running(*module: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", *module])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bell(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A broker that the settings name."""
    chosen = broker.choose()
    monkeypatch.setenv("STUDIO_REDIS_URL", chosen.url)
    monkeypatch.setenv("STUDIO_SPARE", "false")  # tests of its own have one
    settings.cache_clear()
    with started(chosen):
        yield


def test_a_job_that_nobody_rang_for_is_found_and_run(studio: Studio, bell: None) -> None:
    job_id = studio.submit(studio.plan())
    with running("worker.reconcile"), running(*CELERY):
        until(lambda: studio.job(job_id).status == Status.SUCCEEDED)


def test_a_worker_that_is_told_to_go_gives_its_job_back_within_seconds(studio: Studio, bell: None) -> None:
    job_id = long_plan(studio)
    with running(*CELERY) as worker:
        enqueue_elsewhere(job_id)
        until(training(studio, job_id))
        (child,) = children_of(psutil.Process(worker.pid), job_id)
        worker.send_signal(signal.SIGTERM)
        until(lambda: studio.job(job_id).status == Status.QUEUED, 10)
        assert worker.wait(10) == 0
        assert not child.is_running()


def enqueue_elsewhere(job_id: int) -> None:
    """As the web page does; Celery reads its settings once a process, and tests have many brokers."""
    subprocess.run([sys.executable, "-c", f"from db.queue import enqueue; enqueue({job_id})"], check=True)
