import math
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from db import jobs, session
from db.jobs import MOVES, IllegalMove, Lease, LeaseLost
from db.models import Job, Metric, Status, now
from tests.db.conftest import NewJob

ENDINGS = [Status.SUCCEEDED, Status.FAILED, Status.CANCELLED]
SECOND = timedelta(seconds=1)


def queued(new_job: NewJob, **values: object) -> int:
    with session.session() as s:
        return jobs.submit(s, new_job(**values))


def running(new_job: NewJob) -> Lease:
    job_id = queued(new_job)
    with session.session() as s:
        lease = jobs.claim(s, job_id, "worker-1")
    assert lease is not None
    return lease


def row(job_id: int) -> Job:
    with session.session() as s:
        return s.get_one(Job, job_id)


def sweep(at: datetime) -> list[int]:
    """As by a sweeper that has seen nothing of a lease since it ran out."""
    with session.session() as s:
        dead = [lease for lease, until in jobs.leases(s).items() if until is not None and until < at]
        return jobs.sweep(s, at, dead)


def test_a_submitted_job_is_queued_and_nobodys(new_job: NewJob) -> None:
    job = row(queued(new_job))
    assert (job.status, job.attempt, job.lease_owner, job.started_at) == (Status.QUEUED, 0, None, None)


def test_a_claimed_job_runs_under_a_lease_of_a_minute(new_job: NewJob) -> None:
    lease = running(new_job)
    job = row(lease.job_id)
    assert lease == Lease(job.id, "worker-1", 1)
    assert job.status == Status.RUNNING
    assert job.started_at is not None
    assert job.lease_until is not None
    assert timedelta(seconds=50) < job.lease_until - now() <= jobs.lease_time()


def test_a_running_job_cannot_be_claimed_again(new_job: NewJob) -> None:
    lease = running(new_job)
    with session.session() as s:
        assert jobs.claim(s, lease.job_id, "worker-2") is None


def test_a_job_that_is_not_there_cannot_be_claimed(database_url: str) -> None:
    with session.session() as s:
        assert jobs.claim(s, 404, "worker-1") is None


def test_of_racing_threads_one_gets_each_job(new_job: NewJob) -> None:
    ids = [queued(new_job) for _ in range(20)]
    together = threading.Barrier(6)

    def race(number: int) -> list[int]:
        together.wait()
        return [job_id for job_id in ids if claimed(job_id, f"worker-{number}")]

    with ThreadPoolExecutor(6) as threads:
        wins = Counter(job_id for won in threads.map(race, range(6)) for job_id in won)
    assert wins == dict.fromkeys(ids, 1)


def claimed(job_id: int, owner: str) -> bool:
    with session.session() as s:
        return jobs.claim(s, job_id, owner) is not None


RACER = """
import sys
from db import jobs, session
print("ready", flush=True)
sys.stdin.readline()
for job_id in range(int(sys.argv[1]), int(sys.argv[2]) + 1):
    with session.session() as s:
        if jobs.claim(s, job_id, sys.argv[3]):
            print(job_id)
"""


def test_of_racing_processes_one_gets_each_job(new_job: NewJob) -> None:
    ids = [queued(new_job) for _ in range(30)]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(ids[0]), str(ids[-1]), f"worker-{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    said = [racer.communicate("go\n", timeout=60)[0] for racer in racers]
    assert sorted(int(word) for words in said for word in words.split()) == ids


@pytest.mark.parametrize("to", [*ENDINGS, Status.QUEUED])
def test_a_running_job_may_move_to(new_job: NewJob, to: Status) -> None:
    lease = running(new_job)
    with session.session() as s:
        jobs.move(s, lease, to, error="Because." if to == Status.FAILED else None)
    job = row(lease.job_id)
    assert (job.status, job.lease_owner, job.lease_until) == (to, None, None)
    assert (job.finished_at is not None) == (to in ENDINGS)
    assert job.error == ("Because." if to == Status.FAILED else None)


def test_a_queued_job_may_be_claimed_or_cancelled(new_job: NewJob) -> None:
    """The other two moves of the table; they need no lease."""
    assert claimed(queued(new_job), "worker-1")
    job_id = queued(new_job)
    with session.session() as s:
        assert jobs.request_cancel(s, job_id)
    job = row(job_id)
    assert job.status == Status.CANCELLED
    assert job.finished_at is not None


def test_the_table_has_no_moves_but_those_tried_here() -> None:
    tried = {(Status.RUNNING, to) for to in [*ENDINGS, Status.QUEUED]}
    tried |= {(Status.QUEUED, Status.RUNNING), (Status.QUEUED, Status.CANCELLED)}
    assert {(origin, to) for origin, targets in MOVES.items() for to in targets} == tried
    assert set(MOVES) == set(Status)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("to", list(Status))
def test_an_ended_job_never_moves_again(new_job: NewJob, ending: Status, to: Status) -> None:
    lease = running(new_job)
    with session.session() as s:
        jobs.move(s, lease, ending)
    with pytest.raises(IllegalMove, match=f"Job {lease.job_id} cannot become {to}"), session.session() as s:
        jobs.move(s, lease, to)
    assert row(lease.job_id).status == ending
    assert not claimed(lease.job_id, "worker-2")


def test_a_running_job_cannot_start_running(new_job: NewJob) -> None:
    lease = running(new_job)
    with pytest.raises(IllegalMove), session.session() as s:
        jobs.move(s, lease, Status.RUNNING)
    assert row(lease.job_id).lease_owner == "worker-1"


@pytest.mark.parametrize("to", list(Status))
def test_a_queued_job_cannot_be_moved_by_a_lease_on_it_that_was_given_back(new_job: NewJob, to: Status) -> None:
    lease = running(new_job)
    with session.session() as s:
        jobs.release(s, lease)
    with pytest.raises(IllegalMove), session.session() as s:
        jobs.move(s, lease, to)
    assert row(lease.job_id).status == Status.QUEUED


def test_of_two_endings_at_once_one_is_written(new_job: NewJob) -> None:
    lease = running(new_job)
    together = threading.Barrier(3)

    def end(to: Status) -> bool:
        together.wait()
        try:
            with session.session() as s:
                jobs.move(s, lease, to)
        except IllegalMove:
            return False
        return True

    with ThreadPoolExecutor(3) as threads:
        won = list(threads.map(end, ENDINGS))
    assert won.count(True) == 1
    assert row(lease.job_id).status == ENDINGS[won.index(True)]


def stale_lease(new_job: NewJob) -> Lease:
    """One whose holder slept so long that the job was given to another."""
    lease = running(new_job)
    sweep(now() + jobs.lease_time() + SECOND)
    assert claimed(lease.job_id, "worker-2")
    return lease


def test_a_stale_lease_cannot_write_progress_or_metrics(new_job: NewJob) -> None:
    lease = stale_lease(new_job)
    for told in ({"step": 5}, {"stage": "Training"}, {"metrics": {"loss": 1.0}}, {}):
        with pytest.raises(LeaseLost), session.session() as s:
            jobs.progress(s, lease, **told)
    assert (row(lease.job_id).step, row(lease.job_id).stage) == (0, "")
    with session.session() as s:
        assert s.scalar(select(func.count()).select_from(Metric)) == 0


def test_a_stale_lease_can_neither_end_a_job_nor_renew_nor_ask(new_job: NewJob) -> None:
    lease = stale_lease(new_job)
    with session.session() as s:
        assert not jobs.renew(s, lease)
        for to in (*ENDINGS, Status.QUEUED):
            with pytest.raises(IllegalMove):
                jobs.move(s, lease, to)
        with pytest.raises(LeaseLost):
            jobs.wishes(s, lease)
    job = row(lease.job_id)
    assert (job.status, job.lease_owner, job.attempt) == (Status.RUNNING, "worker-2", 2)


def test_the_same_worker_cannot_write_under_its_earlier_attempt(new_job: NewJob) -> None:
    lease = running(new_job)
    with session.session() as s:
        jobs.release(s, lease)
        again = jobs.claim(s, lease.job_id, lease.owner)
    assert again == Lease(lease.job_id, lease.owner, 2)
    with pytest.raises(LeaseLost), session.session() as s:
        jobs.progress(s, lease, step=1)


def test_a_renewed_lease_lasts_a_minute_from_then(new_job: NewJob) -> None:
    lease = running(new_job)
    before = row(lease.job_id).lease_until
    with session.session() as s:
        assert jobs.renew(s, lease)
    after = row(lease.job_id).lease_until
    assert before is not None
    assert after is not None
    assert after > before


def test_progress_is_kept_and_what_is_not_told_stays(new_job: NewJob) -> None:
    lease = running(new_job)
    with session.session() as s:
        jobs.progress(s, lease, step=0, total_steps=40, stage="Training")
    with session.session() as s:
        jobs.progress(s, lease, step=7, metrics={"loss": 2.5})
        jobs.progress(s, lease, metrics={"speed": 900})
    job = row(lease.job_id)
    assert (job.step, job.total_steps, job.stage) == (7, 40, "Training")
    with session.session() as s:
        points = {(m.name, m.step, m.value) for m in s.scalars(select(Metric))}
    assert points == {("loss", 7, 2.5), ("speed", 7, 900.0)}


def test_a_step_done_again_after_a_crash_replaces_its_metrics(new_job: NewJob) -> None:
    lease = running(new_job)
    with session.session() as s:
        jobs.progress(s, lease, step=7, metrics={"loss": 2.5, "speed": 1.0})
    with session.session() as s:
        jobs.progress(s, lease, step=7, metrics={"loss": 2.25})
        assert s.get_one(Metric, (lease.job_id, "loss", 7)).value == 2.25
        assert s.get_one(Metric, (lease.job_id, "speed", 7)).value == 1.0


def test_a_loss_that_is_not_a_number_leaves_a_gap(new_job: NewJob) -> None:
    lease = running(new_job)
    with session.session() as s:
        jobs.progress(s, lease, step=1, metrics={"loss": math.nan, "speed": math.inf, "rate": 0.5})
        assert [metric.name for metric in s.scalars(select(Metric))] == ["rate"]


def test_a_stage_too_long_for_its_column_is_cut(new_job: NewJob) -> None:
    lease = running(new_job)
    with session.session() as s:
        jobs.progress(s, lease, stage="x" * 500)
    assert row(lease.job_id).stage == "x" * 80


def test_a_held_job_is_seen_as_it_is_now(new_job: NewJob) -> None:
    lease = running(new_job)
    with session.session() as s:
        seen = s.get_one(Job, lease.job_id)
        jobs.progress(s, lease, step=3)
        assert seen.step == 3
        assert jobs.hold(s, lease) is seen


def test_a_running_job_learns_that_it_should_stop(new_job: NewJob) -> None:
    lease = running(new_job)
    with session.session() as s:
        assert not jobs.wishes(s, lease).cancel
        assert jobs.request_cancel(s, lease.job_id)
        assert jobs.wishes(s, lease).cancel
    assert row(lease.job_id).status == Status.RUNNING


def test_a_cancelled_queued_job_cannot_be_claimed(new_job: NewJob) -> None:
    job_id = queued(new_job)
    with session.session() as s:
        jobs.request_cancel(s, job_id)
    assert not claimed(job_id, "worker-1")
    assert sweep(now() + timedelta(hours=1)) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_there_is_nothing_to_cancel_in_an_ended_job(new_job: NewJob, ending: Status) -> None:
    lease = running(new_job)
    with session.session() as s:
        jobs.move(s, lease, ending)
        finished = s.get_one(Job, lease.job_id).finished_at
    with session.session() as s:
        assert not jobs.request_cancel(s, lease.job_id)
        assert not jobs.request_cancel(s, 404)
    job = row(lease.job_id)
    assert (job.status, job.cancel_requested, job.finished_at) == (ending, False, finished)


def test_the_sweep_leaves_a_job_alone_whose_lease_runs(new_job: NewJob) -> None:
    lease = running(new_job)
    assert sweep(now() + jobs.lease_time() - 2 * SECOND) == []
    assert row(lease.job_id).status == Status.RUNNING


def test_the_sweep_queues_a_job_whose_worker_died_and_rings_for_it(new_job: NewJob) -> None:
    lease = running(new_job)
    with session.session() as s:
        jobs.progress(s, lease, step=5, total_steps=9, metrics={"loss": 1.0})
    started = row(lease.job_id).started_at
    assert sweep(now() + jobs.lease_time() + SECOND) == [lease.job_id]
    job = row(lease.job_id)
    assert (job.status, job.lease_owner, job.lease_until, job.step) == (Status.QUEUED, None, None, 5)
    assert claimed(job.id, "worker-2")
    job = row(lease.job_id)
    assert (job.attempt, job.started_at) == (2, started)


def test_a_job_whose_worker_died_three_times_fails_with_a_sentence(new_job: NewJob) -> None:
    job_id, at = queued(new_job), now()
    for attempt in (1, 2, 3):
        assert row(job_id).status == Status.QUEUED
        assert claimed(job_id, f"worker-{attempt}")
        at += jobs.lease_time() + jobs.NEXT_RING + SECOND
        rung = sweep(at)
        assert rung == ([job_id] if attempt < 3 else [])
    job = row(job_id)
    assert (job.status, job.attempt, job.finished_at) == (Status.FAILED, 3, at)
    assert job.error is not None
    assert job.error.startswith("The worker stopped 3 times")


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_job_whose_worker_died_after_a_cancel_is_cancelled(new_job: NewJob, attempts: int) -> None:
    job_id = queued(new_job, losses=attempts - 1)
    assert claimed(job_id, "worker-1")
    with session.session() as s:
        jobs.request_cancel(s, job_id)
    assert sweep(now() + jobs.lease_time() + SECOND) == []
    job = row(job_id)
    assert (job.status, job.lease_owner, job.error) == (Status.CANCELLED, None, None)
    assert job.finished_at is not None


def test_a_job_given_back_after_a_cancel_is_cancelled_not_run(new_job: NewJob) -> None:
    lease = running(new_job)
    with session.session() as s:
        jobs.request_cancel(s, lease.job_id)
        jobs.release(s, lease)
    assert not claimed(lease.job_id, "worker-2")
    assert sweep(now()) == []
    assert row(lease.job_id).status == Status.CANCELLED


def test_the_sweep_rings_for_a_job_whose_message_was_lost_but_not_too_often(new_job: NewJob) -> None:
    job_id, start = queued(new_job), now()
    rung = [second for second in range(0, 70, 2) if sweep(start + second * SECOND)]
    assert rung == [6, 38]
    assert row(job_id).status == Status.QUEUED


def test_a_job_given_back_is_rung_for_at_the_next_sweep(new_job: NewJob) -> None:
    job_id, start = queued(new_job), now()
    assert sweep(start + 6 * SECOND) == [job_id]
    assert claimed(job_id, "worker-1")
    with session.session() as s:
        jobs.release(s, Lease(job_id, "worker-1", 1))
    assert sweep(start + 8 * SECOND) == [job_id]


def test_the_sweep_rings_in_the_order_of_submission(new_job: NewJob) -> None:
    ids = [queued(new_job) for _ in range(5)]
    assert sweep(now() + 6 * SECOND) == ids


def test_two_sweeps_at_once_ring_once(new_job: NewJob) -> None:
    job_id, at = queued(new_job), now() + 6 * SECOND
    together = threading.Barrier(2)

    def run(_: int) -> list[int]:
        together.wait()
        return sweep(at)

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(run, range(2))) == [[], [job_id]]


def claimed_next(owner: str = "worker-1", **limits: object) -> int | None:
    with session.session() as s:
        lease = jobs.claim_next(s, owner, **limits)
    return lease.job_id if lease else None


def ended(job_id: int, status: Status) -> None:
    with session.session() as s:
        lease = jobs.claim(s, job_id, "worker-1")
        assert lease is not None
        jobs.move(s, lease, status)


def test_whoever_hears_a_bell_takes_the_highest_priority_and_then_the_oldest(new_job: NewJob) -> None:
    first, urgent, last, urgent_too = (queued(new_job, priority=each) for each in (0, 5, -1, 5))
    assert [claimed_next() for _ in range(5)] == [urgent, urgent_too, first, last, None]


def test_a_worker_takes_no_job_that_asks_for_more_devices_or_another_kind(new_job: NewJob) -> None:
    wide, probe = queued(new_job, gpus=2), queued(new_job, kind="probe")
    assert claimed_next(kinds=["train"]) is None
    assert claimed_next() == probe
    assert claimed_next(gpus=2) == wide


def test_a_job_waits_until_its_predecessor_has_succeeded(new_job: NewJob) -> None:
    before = queued(new_job)
    after = queued(new_job, after_id=before, priority=9)
    assert sweep(now() + 6 * SECOND) == [before]
    assert not claimed(after, "worker-1")
    ended(before, Status.SUCCEEDED)
    with session.session() as s:
        assert jobs.dependents(s, before) == [after]
    assert sweep(now() + 8 * SECOND) == [after]
    assert claimed_next() == after


@pytest.mark.parametrize("ending", [Status.FAILED, Status.CANCELLED])
def test_what_waits_for_a_job_that_did_not_succeed_ends_with_it(new_job: NewJob, ending: Status) -> None:
    before = queued(new_job)
    after = queued(new_job, after_id=before)
    last = queued(new_job, after_id=after)
    ended(before, ending)
    assert sweep(now() + 6 * SECOND) == []
    for job_id, waited_for in ((after, before), (last, after)):
        job = row(job_id)
        assert (job.status, job.reason) == (Status.CANCELLED, "waited")
        assert str(job.error).startswith(f"Job {waited_for}, which this one waited for")


def test_a_job_given_back_by_a_worker_that_goes_loses_nothing(new_job: NewJob) -> None:
    job_id = queued(new_job)
    for attempt in range(1, 6):
        assert claimed(job_id, "worker-1")
        with session.session() as s:
            jobs.release(s, Lease(job_id, "worker-1", attempt))
    assert (row(job_id).status, row(job_id).losses) == (Status.QUEUED, 0)


def test_only_a_running_job_can_be_asked_to_stop_and_keep(new_job: NewJob) -> None:
    job_id = queued(new_job)
    with session.session() as s:
        assert not jobs.request_stop(s, job_id)
    assert claimed(job_id, "worker-1")
    with session.session() as s:
        assert jobs.request_stop(s, job_id)
        assert jobs.wishes(s, Lease(job_id, "worker-1", 1)) == jobs.Wishes(cancel=False, stop=True)


def test_a_clock_that_is_put_back_keeps_no_job_unheard(new_job: NewJob) -> None:
    job_id, hour = queued(new_job), timedelta(hours=1)
    assert sweep(now() + hour) == [job_id]
    assert sweep(now()) == [job_id]
    assert sweep(now() - hour) == [job_id]


def test_racing_workers_share_the_queue_without_taking_a_job_twice(new_job: NewJob) -> None:
    ids = [queued(new_job, priority=number % 3) for number in range(24)]
    with ThreadPoolExecutor(6) as threads:
        taken = list(threads.map(lambda number: claimed_next(f"worker-{number % 6}"), range(48)))
    assert sorted(filter(None, taken)) == ids
