from datetime import timedelta

import pytest
from sqlalchemy import event, select

from db import jobs, scores, session
from db.jobs import Lease, LeaseLost
from db.models import OWNER, Adapter, Job, Metric, Person, Score, Status, now
from tests.db.conftest import NewJob


def score(subject: str, metric: str, value: float) -> Score:
    interval = {"low": value - 0.125, "high": value + 0.125}
    return Score(
        subject=subject, benchmark="held-out", metric=metric, value=value, n=48, quantization="nf4", **interval
    )


def scored_job(new_job: NewJob, **values: object) -> Lease:
    """A job that has been trained and measured, and still runs."""
    with session.session() as s:
        job = new_job(**values)
        lease = jobs.claim(s, jobs.submit(s, job), "worker-1")
        assert lease is not None
        s.add(
            Adapter(
                owner_id=job.owner_id,
                job_id=job.id,
                name=f"tickets-v{job.id}",
                method="prolora",
                base_model="demo",
                content_hash="a" * 64,
                parameters=990,
                size_bytes=4096,
                dtype="float32",
            )
        )
        s.flush()
        scores.record(
            s, lease, [score("adapter", "exact_match", 0.75), score("adapter", "loss", 1.5), score("base", "loss", 2.5)]
        )
    return lease


def succeeded(new_job: NewJob, **values: object) -> int:
    lease = scored_job(new_job, **values)
    with session.session() as s:
        jobs.move(s, lease, Status.SUCCEEDED)
    return lease.job_id


def leaderboard(owner_id: int = OWNER) -> list[scores.Entry]:
    with session.session() as s:
        return scores.leaderboard(s, owner_id)


def test_a_run_that_succeeded_is_on_the_leaderboard_with_all_that_was_measured(new_job: NewJob) -> None:
    job_id = succeeded(new_job, name="tickets, rank 8", pair="p1")
    with session.session() as s:
        job = s.get_one(Job, job_id)
        job.started_at, job.finished_at = now(), now() + timedelta(seconds=90)
    [entry] = leaderboard()
    assert (entry.job_id, entry.name, entry.pair) == (job_id, "tickets, rank 8", "p1")
    assert (entry.method, entry.setting) == ("prolora", "(8, 2, 4, 4)")
    assert (entry.parameters, entry.size_bytes, entry.adapter_name) == (990, 4096, f"tickets-v{job_id}")
    assert (entry.base_model, entry.dataset, entry.n) == ("demo", "tickets", 48)
    assert entry.scores == {"exact_match": 0.75, "loss": 1.5}
    assert entry.base_scores == {"loss": 2.5}
    assert entry.intervals["loss"] == (1.375, 1.625)
    assert entry.minutes == pytest.approx(1.5, abs=0.01)


def test_a_setting_without_shared_ranks_is_written_as_its_rank(new_job: NewJob) -> None:
    succeeded(new_job, plan={"setting": {"r": 4, "u": 4, "m": 1, "n": 1}})
    assert leaderboard()[0].setting == "r=4"


def test_only_the_owners_own_finished_runs_are_shown_newest_first(new_job: NewJob) -> None:
    with session.session() as s:
        other = Person(name="other")
        s.add(other)
    mine = [succeeded(new_job), succeeded(new_job)]
    theirs = succeeded(new_job, owner_id=other.id)
    scored_job(new_job)
    assert [entry.job_id for entry in leaderboard()] == mine[::-1]
    assert [entry.job_id for entry in leaderboard(other.id)] == [theirs]


def test_a_job_measured_again_keeps_the_later_scores(new_job: NewJob) -> None:
    lease = scored_job(new_job)
    with session.session() as s:
        scores.record(s, lease, [score("adapter", "loss", 1.25)])
        kept = {(row.subject, row.metric): row.value for row in s.scalars(select(Score))}
    assert kept == {("adapter", "exact_match"): 0.75, ("adapter", "loss"): 1.25, ("base", "loss"): 2.5}


def test_scores_belong_to_the_owner_of_their_job(new_job: NewJob) -> None:
    scored_job(new_job)
    with session.session() as s:
        assert {row.owner_id for row in s.scalars(select(Score))} == {OWNER}


def test_a_stale_lease_cannot_write_scores(new_job: NewJob) -> None:
    lease = scored_job(new_job)
    with session.session() as s:
        jobs.sweep(s, now(), jobs.leases(s))
        assert jobs.claim(s, lease.job_id, "worker-2")
    with pytest.raises(LeaseLost), session.session() as s:
        scores.record(s, lease, [score("adapter", "loss", 9.0)])
    with session.session() as s:
        assert 9.0 not in set(s.scalars(select(Score.value)))


def test_the_leaderboard_asks_as_often_for_ten_runs_as_for_one(new_job: NewJob, database_url: str) -> None:
    asked: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(session.engine(database_url), "before_cursor_execute", count)
    counts = []
    for runs in (1, 9):
        for _ in range(runs):
            succeeded(new_job)
        asked.clear()
        leaderboard()
        counts.append(sum(statement.startswith("SELECT") for statement in asked))
    event.remove(session.engine(database_url), "before_cursor_execute", count)
    assert counts == [2, 2]


def written_curve(new_job: NewJob, length: int) -> int:
    with session.session() as s:
        job_id = jobs.submit(s, new_job())
        s.add_all(Metric(job_id=job_id, name="loss", step=10 * i, value=float(i)) for i in range(length))
    return job_id


@pytest.mark.parametrize("length", [0, 1, 2, 3, 499, 500, 501, 999, 1000, 1001, 5003])
def test_a_curve_has_at_most_so_many_points_from_first_to_last(new_job: NewJob, length: int) -> None:
    job_id = written_curve(new_job, length)
    with session.session() as s:
        found = scores.curve(s, job_id, "loss")
    assert len(found) <= 500
    assert len(found) == length if length <= 500 else len(found) > 250
    assert found == sorted(found)
    assert all(step == 10 * value for step, value in found)
    if length:
        assert (found[0], found[-1]) == ((0, 0.0), (10 * (length - 1), float(length - 1)))


def test_a_curve_is_of_one_job_and_one_metric(new_job: NewJob) -> None:
    job_id = written_curve(new_job, 3)
    written_curve(new_job, 4)
    with session.session() as s:
        s.add(Metric(job_id=job_id, name="speed", step=0, value=1.0))
    with session.session() as s:
        assert scores.curve(s, job_id, "loss", points=2) == [(0, 0.0), (20, 2.0)]
