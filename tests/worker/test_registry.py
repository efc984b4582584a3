"""A worker's row, while the worker really runs."""

import signal

from sqlalchemy import select

from db import workers
from db.models import Status, Worker
from db.session import session
from tests.worker.conftest import Studio
from tests.worker.test_jobs import until
from tests.worker.test_worker import bell as bell
from tests.worker.test_worker import enqueue_elsewhere, running


def row() -> Worker | None:
    with session() as s:
        return s.scalar(select(Worker))


def says(state: str, job_id: int | None) -> bool:
    found = row()
    return found is not None and (found.state, found.job_id) == (state, job_id)


def test_a_worker_tells_what_it_is_and_does_from_its_start_to_its_end(studio: Studio, bell: None) -> None:
    job_id = studio.add("probe", {"steps": 10_000, "seconds": 0.1})
    with running("worker", "--loglevel", "WARNING") as worker:
        until(lambda: says(workers.IDLE, None), 30)
        enqueue_elsewhere(job_id)
        until(lambda: says(workers.BUSY, job_id), 30)
        found = row()
        assert found is not None
        assert found.name == studio.job(job_id).lease_owner
        assert found.memory_bytes > 0
        assert found.gpus >= 1
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    assert says(workers.STOPPED, None)
    assert studio.job(job_id).status == Status.QUEUED


def test_a_worker_is_seen_while_it_waits_for_its_broker(studio: Studio) -> None:
    with running("worker", "--loglevel", "WARNING"):
        until(lambda: says(workers.IDLE, None), 30)
