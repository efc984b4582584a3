"""SIGKILL for each part while jobs run."""

import time

from db.models import Status
from tests.faults.conftest import LONG, Studio


def test_a_killed_child_ends_its_job_alone_and_the_worker_goes_on(studio: Studio) -> None:
    studio.start("worker-1", "reconcile")
    first, second = studio.submit(LONG), studio.submit()
    studio.until_step(first)
    (child,) = studio.fleet.children(studio.holder(first))
    child.kill()
    assert "signal 9" in str(studio.until(first, Status.FAILED).error)
    assert studio.until(second, Status.SUCCEEDED).attempt == 1


def test_the_job_of_a_killed_worker_goes_on_at_another_where_it_was(studio: Studio) -> None:
    studio.start()
    job_id = studio.submit(LONG)
    studio.until_step(job_id, 5)
    holder = studio.holder(job_id)
    (child,) = studio.fleet.children(holder)
    studio.fleet.kill(holder)
    child.wait(5)
    job = studio.until(job_id, Status.SUCCEEDED)
    assert (job.attempt, job.losses) == (2, 1)
    assert studio.moves(job_id) == [Status.RUNNING, Status.QUEUED, Status.RUNNING, Status.SUCCEEDED]
    assert studio.steps_told(job_id) == [float(step) for step in range(1, 26)]


def test_a_killed_broker_loses_no_job_and_those_queued_meanwhile_are_found(studio: Studio) -> None:
    studio.start()
    before = studio.submit(LONG)
    studio.until_step(before)
    studio.fleet.broker.kill()
    meanwhile = [studio.submit() for _ in range(3)]
    time.sleep(2)
    studio.fleet.broker.start()
    for job_id in (before, *meanwhile):
        assert studio.until(job_id, Status.SUCCEEDED).attempt == 1


def test_a_database_that_is_away_for_longer_than_a_lease_costs_a_running_job_no_step(studio: Studio) -> None:
    studio.start()
    job_id = studio.submit(LONG)
    studio.until_step(job_id, 3)
    studio.fleet.database.kill()
    time.sleep(5)
    studio.fleet.database.start()
    job = studio.until(job_id, Status.SUCCEEDED)
    assert (job.attempt, job.losses) == (1, 0)
    assert studio.steps_told(job_id) == [float(step) for step in range(1, 26)]


def test_after_everything_was_killed_at_once_a_start_finishes_all(studio: Studio) -> None:
    studio.start()
    ids = [studio.submit(LONG) for _ in range(2)] + [studio.submit() for _ in range(3)]
    studio.until_step(ids[0])
    studio.fleet.database.kill()
    studio.fleet.end()
    studio.fleet.broker.kill()
    assert studio.fleet.orphans() == []
    studio.fleet.database.start()
    studio.fleet.broker.start()
    studio.start()
    for job_id in ids:
        assert studio.until(job_id, Status.SUCCEEDED).losses <= 1


def test_killing_the_loop_that_puts_right_delays_it_only(studio: Studio) -> None:
    studio.start()
    job_id = studio.submit(LONG)
    studio.until_step(job_id)
    studio.fleet.kill("reconcile")
    studio.fleet.kill(studio.holder(job_id))
    studio.start("reconcile")
    assert studio.until(job_id, Status.SUCCEEDED).losses == 1
