"""A job in two processes of one host, on CPUs by gloo: one run, of which the first process tells."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import delete

from db import jobs
from db.jobs import Lease
from db.models import Metric
from db.session import session
from tests.worker.conftest import Studio, add_dataset, claimed
from tests.worker.in_float32 import ROWS
from tests.worker.test_jobs import until
from tests.worker.test_resume import curve, reached
from worker import checkpoints, launch, road, work
from worker.work import Assignment


@contextmanager
def started(lease: Lease, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as sink:
        process = launch.process(launch.command(Assignment(lease, "train", 2)), launch.environment(2), sink)
    try:
        yield process
    finally:
        launch.kill(process)


def said(process: subprocess.Popen[bytes]) -> list[str]:
    """How the processes say that they ended; their standard input stays open, since they live as long as that."""
    process.wait(120)
    assert process.stdout is not None
    return [json.loads(line)["ending"] for line in process.stdout.read().splitlines()]


@pytest.fixture
def long(studio: Studio) -> Lease:
    return claimed(studio.submit(studio.plan(epochs=50, batch_size=4, quantization="none"), add_dataset(ROWS)))


def test_a_stop_reaches_both_and_the_first_keeps_and_measures(studio: Studio, long: Lease, tmp_path: Path) -> None:
    with started(long, tmp_path / "log") as process:
        until(lambda: reached(long.job_id) >= 3, 120)
        with session() as s:
            jobs.request_stop(s, long.job_id)
        assert said(process) == []
        assert process.returncode == 0
    assert f"Stopped as asked after step {studio.job(long.job_id).step} of" in str(studio.job(long.job_id).note)
    assert studio.adapter(long.job_id).content_hash
    assert {subject for subject, _ in studio.scores(long.job_id)} == {"adapter", "base"}
    assert checkpoints.known(long.job_id) == {}


def test_a_cancel_reaches_both_within_a_step(studio: Studio, long: Lease, tmp_path: Path) -> None:
    with started(long, tmp_path / "log") as process:
        until(lambda: reached(long.job_id) >= 3, 120)
        with session() as s:
            jobs.request_cancel(s, long.job_id)
        before = reached(long.job_id)
        assert said(process)[0] == "cancelled"
    assert max(curve(long.job_id, "loss")) <= before + 1


def test_a_run_of_two_goes_on_in_one(studio: Studio, tmp_path: Path) -> None:
    plan = studio.plan(epochs=3, dropout=0.1, quantization="none")
    job_id = studio.submit(plan, add_dataset(ROWS))
    first = claimed(job_id)
    with started(first, tmp_path / "log"):
        until(lambda: checkpoints.known(job_id), 120)
    begun = max(checkpoints.known(job_id))
    with session() as s:
        jobs.release(s, first)
        s.execute(delete(Metric))
    road.travel(work.load(claimed(job_id)))
    assert min(curve(job_id, "loss")) == begun + 1
    assert studio.adapter(job_id).content_hash
