"""Sweeps: a grid becomes one batch, is summed up over seeds, and leaves as CSV."""

import csv
import io
from dataclasses import replace

import pytest
from sqlalchemy import update

from app.pages import batchview
from app.services import batches, jobs, spread, workers
from app.services.jobs import JobError
from db import jobs as rows
from db.models import OWNER, Job, Score, Status, Worker, now
from db.session import session
from prolora.errors import PlanError


@pytest.fixture
def sweep(choice):
    return replace(choice, rates="1e-3, 3e-3", seeds="1-2")


def finish(job_id, **metrics):
    with session() as s:
        lease = rows.claim(s, job_id, "somebody")
        for metric, value in metrics.items():
            score = {"subject": "adapter", "benchmark": "held-out", "low": 0, "high": 1, "quantization": "nf4"}
            s.add(Score(owner_id=OWNER, job_id=job_id, metric=metric, value=value, n=48, **score))
        rows.move(s, lease, Status.SUCCEEDED if metrics else Status.FAILED)


def test_a_grid_becomes_one_batch_of_every_combination_and_method(sweep):
    batch_id, ids = batches.start(sweep)
    found = batches.overview(batch_id).lines
    assert [each.id for each in found] == ids
    assert [(each.learning_rate, each.seed, each.method) for each in found] == [
        (rate, seed, method) for rate in (1e-3, 3e-3) for seed in (1, 2) for method in ("prolora", "lora")
    ]
    assert found[0].name == "Tickets, 0.001, seed 1"
    assert len({each.pair for each in found}) == 4
    assert batches.listing()[0].states == {"queued": 8}


def test_what_a_sweep_does_not_name_is_the_single_value(choice):
    grid = batches.grid_of(replace(choice, budgets="rank 4, 5,000,000; 300k"))
    assert grid == batches.Grid(("prolora", "lora"), ("rank 4", "5,000,000", "300k"), (3e-3,), (1,))
    assert not batches.is_sweep(choice)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rates": "1e-3, fast"}, "“fast” is not a learning rate"),
        ({"seeds": "1, -2"}, "“-2” is no seed"),
        ({"seeds": "5-3"}, "“5-3” is no seed"),
        ({"seeds": "1-900"}, "at most 200"),
        ({"seeds": "1-150"}, "has 300 jobs; a batch holds at most 200"),
        ({"budgets": "rank 8, 3"}, "too small"),
        ({"rates": "1e-3, -1"}, "learning rate must be above 0"),
    ],
)
def test_a_sweep_that_cannot_be_starts_no_job_at_all(choice, change, words):
    with pytest.raises(PlanError, match=words):
        batches.start(replace(choice, **change))
    assert jobs.listing() == []
    assert batches.listing() == []


def test_the_mean_and_the_spread_are_over_seeds_that_were_measured(sweep):
    batch_id, ids = batches.start(sweep)
    for job_id, loss in zip(ids[:4:2], (1.0, 2.0), strict=True):
        finish(job_id, loss=loss)
    finish(ids[1], loss=5.0)
    cells = spread.cells(batches.overview(batch_id))
    assert [(each.method, each.learning_rate, len(each.runs)) for each in cells] == [
        (method, rate, 2) for rate in (1e-3, 3e-3) for method in ("prolora", "lora")
    ]
    assert cells[0].metrics["loss"] == spread.Spread(1.5, pytest.approx(0.5**0.5), 2)
    assert cells[1].metrics["loss"] == spread.Spread(5.0, None, 1)
    assert cells[2].metrics == {}
    html = batchview.spread_html(batches.overview(batch_id))
    assert "1.500 ± 0.707" in html
    assert "n = 2" in html


def test_all_are_cancelled_and_what_failed_is_queued_again_in_its_place(sweep):
    batch_id, ids = batches.start(sweep)
    finish(ids[0], loss=1.0)
    finish(ids[1])
    assert batches.cancel_all(batch_id) == 6
    again = batches.retry_failed(batch_id)
    assert len(again) == 7
    found = batches.overview(batch_id)
    assert [each.id for each in found.lines] == [ids[0], *again]
    assert [each.status for each in found.lines] == ["succeeded", *["queued"] * 7]
    assert batches.retry_failed(batch_id) == []


def test_a_batch_that_is_not_there_is_told(choice):
    with pytest.raises(JobError, match="no batch number 5"):
        batches.overview(5)


def test_no_cell_of_the_csv_is_a_formula_and_numbers_stay_numbers(sweep):
    batch_id, ids = batches.start(replace(sweep, name="=1+1", rates="", seeds="1-2"))
    finish(ids[0], loss=-0.5)
    with session() as s:
        s.execute(update(Job).where(Job.id == ids[1]).values(error="@SUM(A1)", name="+a"))
        s.execute(update(Job).where(Job.id == ids[2]).values(error="a, “b”\nc", name="\t=1"))
    table = list(csv.DictReader(io.StringIO(spread.table_csv(batches.overview(batch_id)), newline="")))
    assert [line["name"] for line in table] == ["'=1+1, seed 1", "'+a", "'\t=1", "'=1+1, seed 2"]
    assert (table[1]["error"], table[2]["error"]) == ("'@SUM(A1)", "a, “b”\nc")
    assert (float(table[0]["loss"]), table[0]["seed"], table[3]["loss"]) == (-0.5, "1", "")


def test_workers_are_told_by_what_they_said_last(choice):
    (running, waiting) = (jobs.start(replace(choice, twin=False))[0] for _ in range(2))
    jobs.start(replace(choice, twin=False, after=waiting))
    assert workers.warning() == "No worker is there now. The job waits until one is started."
    with session() as s:
        rows.claim(s, running, "a")
        usual = {"host": "h", "device": "cpu", "memory_bytes": 1, "gpus": 1, "version": "1"}
        s.add(Worker(name="a", state="busy", job_id=running, **usual))
        s.add(Worker(name="b", state="busy", job_id=running, seen_at=now() - 2 * rows.lease_time(), **usual))
        s.add(Worker(name="c", state="stopped", **usual))
        s.add(Worker(name="d", state="idle", seen_at=now() - 2 * workers.FORGOTTEN, **usual))
    assert [(each.name, each.state, each.job_id) for each in workers.listing()] == [
        ("a", "busy", running),
        ("b", "gone", None),
        ("c", "stopped", None),
    ]
    assert workers.queue() == workers.Queue(running=1, ready=1, waiting=1)
    assert workers.warning() == ""
