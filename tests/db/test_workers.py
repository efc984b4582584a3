"""Workers' rows, on both databases."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select

from db import workers
from db.models import Worker, now
from db.session import session
from db.workers import KEPT, Presence
from tests.db.conftest import NewJob

HERE = Presence("host:1:abc", "host", "cpu", 2**34, 1, "0.1.0+abc")


def rows() -> list[Worker]:
    with session() as s:
        return list(s.scalars(select(Worker).order_by(Worker.name)))


def test_a_worker_has_one_row_which_changes_with_what_it_does(database_url: str, new_job: NewJob) -> None:
    start = now()
    with session() as s:
        job = new_job()
        s.add(job)
        s.flush()
        workers.tell(s, HERE, start)
        workers.tell(s, replace(HERE, state=workers.BUSY, job_id=job.id), start + timedelta(seconds=5))
    (row,) = rows()
    assert (row.state, row.job_id, row.memory_bytes) == (workers.BUSY, job.id, 2**34)
    assert (row.started_at, row.seen_at) == (start, start + timedelta(seconds=5))


def test_a_worker_that_leaves_says_so(database_url: str) -> None:
    with session() as s:
        workers.tell(s, HERE, now())
        workers.tell(s, replace(HERE, name="host:2:def"), now())
        workers.leave(s, HERE.name)
    assert [row.state for row in rows()] == [workers.STOPPED, workers.IDLE]


def test_workers_of_another_day_are_forgotten(database_url: str) -> None:
    at = now()
    with session() as s:
        workers.tell(s, HERE, at - KEPT - timedelta(seconds=1))
        workers.tell(s, replace(HERE, name="host:2:def"), at - KEPT + timedelta(seconds=1))
        workers.prune(s, at)
    assert [row.name for row in rows()] == ["host:2:def"]
