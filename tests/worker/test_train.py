import dataclasses

import pytest
from sqlalchemy import select, update

from db import files, jobs
from db.jobs import Lease
from db.models import Checkpoint, Metric
from db.session import session
from prolora.chat import ChatTokenizer
from tests.worker.conftest import LORA, TEXTS, Studio, claimed, rows_of
from worker import base, work
from worker.endings import Cancelled
from worker.examples import encode
from worker.train import attach, train


def train_once(studio: Studio, lease: Lease) -> None:
    task = work.load(lease)
    examples = encode(ChatTokenizer(studio.base), rows_of(TEXTS), task.plan.max_length)
    train(task, attach(base.load(studio.base, "nf4", task.plan.max_length), task.plan), examples)


@pytest.mark.parametrize("method", ["prolora", "lora"])
def test_a_second_attempt_goes_on_where_the_checkpoint_ends(studio: Studio, method: str) -> None:
    plan = studio.plan() if method == "prolora" else studio.plan(method="lora", setting=LORA)
    first = claimed(studio.submit(plan))
    train_once(studio, first)
    half = studio.job(first.job_id).total_steps

    second = claimed(studio.submit(dataclasses.replace(plan, epochs=2)))
    files.run_dir(first.job_id).rename(files.run_dir(second.job_id))
    with session() as s:
        s.execute(update(Checkpoint).values(job_id=second.job_id))
    train_once(studio, second)
    with session() as s:
        steps = s.scalars(select(Metric.step).where(Metric.job_id == second.job_id, Metric.name == "loss")).all()
    assert (min(steps), max(steps)) == (half + 1, 2 * half)


def test_a_cancel_stops_within_one_step(studio: Studio, lease: Lease) -> None:
    with session() as s:
        jobs.request_cancel(s, lease.job_id)
    with pytest.raises(Cancelled):
        train_once(studio, lease)
    assert studio.job(lease.job_id).step == 0


def test_a_stop_ends_within_one_step_and_says_at_which(studio: Studio, lease: Lease) -> None:
    with session() as s:
        jobs.request_stop(s, lease.job_id)
    train_once(studio, lease)
    assert studio.job(lease.job_id).step == 1
    assert studio.job(lease.job_id).note == "Stopped as asked after step 1 of 5; the adapter was kept and measured."


def test_a_run_tells_what_memory_it_took(studio: Studio, lease: Lease) -> None:
    train_once(studio, lease)
    peak = studio.job(lease.job_id).peak_bytes
    with session() as s:
        points = s.scalars(select(Metric.value).where(Metric.job_id == lease.job_id, Metric.name == "memory")).all()
    assert peak is not None
    assert peak >= max(points) >= 0
