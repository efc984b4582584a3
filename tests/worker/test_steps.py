"""Kinds of jobs, each in a real child process."""

import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import func, select

from db import files, jobs
from db.models import Metric, Status
from db.session import session
from tests.worker.conftest import Studio, in_background
from tests.worker.test_jobs import until
from worker import tasks
from worker.endings import ChildFailed
from worker.steps import STEPS


def probe(studio: Studio, **plan: Any) -> int:
    return studio.add("probe", plan)


def test_a_light_job_ends_succeeded_with_one_point_a_step(studio: Studio) -> None:
    job_id = probe(studio, steps=4)
    tasks.run_job(job_id)
    job = studio.job(job_id)
    assert (job.status, job.reason, job.step, job.total_steps) == (Status.SUCCEEDED, None, 4, 4)
    with session() as s:
        assert s.scalar(select(func.count()).select_from(Metric).filter_by(job_id=job_id)) == 4


def test_a_light_job_loads_nothing_heavy() -> None:
    program = (
        "import sys, worker.child, worker.tasks; print([n for n in ('torch', 'transformers') if n in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("error", "error"),
        ("bad-input", "bad-input"),
        ("out-of-memory", "out-of-memory"),
        ("diverged", "diverged"),
        ("killed", "out-of-memory"),  # what a kill without a word most likely was
    ],
)
def test_a_failure_reaches_the_row_with_its_reason_and_a_sentence(studio: Studio, fault: str, reason: str) -> None:
    job_id = probe(studio, steps=3, fail_at=2, fail_as=fault)
    with pytest.raises(ChildFailed):
        tasks.run_job(job_id)
    job = studio.job(job_id)
    assert (job.status, job.reason, job.step) == (Status.FAILED, reason, 1)
    assert job.error


def test_a_light_job_is_cancelled_in_its_next_step(studio: Studio) -> None:
    job_id = probe(studio, steps=1_000, seconds=0.1)
    thread = in_background(tasks.run_job, job_id)
    until(lambda: studio.job(job_id).step > 0)
    with session() as s:
        jobs.request_cancel(s, job_id)
    until(lambda: studio.job(job_id).status == Status.CANCELLED, 10)
    thread.join(10)
    assert studio.job(job_id).reason is None


def test_a_job_of_a_kind_that_this_worker_does_not_know_is_left_to_newer_ones(studio: Studio) -> None:
    job_id = studio.add("distil", {})
    tasks.run_job(job_id)
    job = studio.job(job_id)
    assert (job.status, job.attempt) == (Status.QUEUED, 0)
    assert "distil" not in STEPS


def test_one_bell_is_enough_for_many_jobs(studio: Studio) -> None:
    ids = [probe(studio, steps=1) for _ in range(3)]
    tasks.run_job(ids[0])
    assert {studio.job(job_id).status for job_id in ids} == {Status.SUCCEEDED}


def test_an_evaluation_measures_an_earlier_job_again_and_the_record_says_on_what(studio: Studio) -> None:
    trained = studio.submit(studio.plan(seed=7))
    again = studio.add("evaluate", studio.plan().to_json(), after_id=trained)
    tasks.run_job(trained)
    assert studio.job(again).status == Status.SUCCEEDED
    ours, theirs = studio.scores(again), studio.scores(trained)
    assert set(ours) == set(theirs)
    assert all(ours[key].value == pytest.approx(theirs[key].value) for key in theirs)
    assert ours["adapter", "loss"].adapter_id == studio.adapter(trained).id
    assert studio.job(again).stage == "Evaluating the base"
    assert files.predictions(again, "base").exists()
    says_what_it_ran_on(studio.job(trained).record)


def says_what_it_ran_on(record: dict[str, Any]) -> None:
    assert (record["seed"], record["dataset"]) == (7, f"{40:064d}")
    assert len(record["base_revision"]) == 64
    assert record["versions"]["torch"].startswith("2.")
    assert "+" in record["code"]
    assert record["device_bytes"] > 0


def test_an_evaluation_of_a_job_without_an_adapter_says_so(studio: Studio) -> None:
    earlier = probe(studio, steps=1)
    job_id = studio.add("evaluate", studio.plan().to_json(), after_id=earlier)
    with pytest.raises(ChildFailed):
        tasks.run_job(earlier)
    job = studio.job(job_id)
    assert (job.status, job.reason) == (Status.FAILED, "bad-input")
    assert f"Job {earlier}" in (job.error or "")
