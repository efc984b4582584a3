"""Whole jobs in real child processes."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from peft import PeftConfig, PeftModel
from transformers import AutoModelForCausalLM

from db import files, jobs
from db.models import Status, now
from db.session import session
from prolora.base_models import find
from prolora.budget import count
from prolora.export import content_hash, to_lora
from tests.worker.conftest import LORA, Studio, add_dataset, in_background, rows_of
from worker import supervise, tasks
from worker.endings import ChildFailed

PATIENCE = 120.0


def until(true: Callable[[], object], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def long_plan(studio: Studio) -> int:
    return studio.submit(studio.plan(epochs=1_000))


def training(studio: Studio, job_id: int) -> Callable[[], bool]:
    return lambda: studio.job(job_id).step > 0


def children_of(process: psutil.Process, job_id: int) -> list[psutil.Process]:
    return [p for p in process.children(recursive=True) if p.cmdline()[2:4] == ["worker.child", str(job_id)]]


@pytest.mark.parametrize("method", ["prolora", "lora"])
def test_a_job_ends_succeeded_with_scores_and_an_adapter_that_plain_peft_loads(
    studio: Studio, tmp_path: Path, method: str
) -> None:
    plan = studio.plan() if method == "prolora" else studio.plan(method="lora", setting=LORA)
    job_id = studio.submit(plan)
    tasks.run_job(job_id)

    job, adapter, scores = studio.job(job_id), studio.adapter(job_id), studio.scores(job_id)
    assert (job.status, job.error) == (Status.SUCCEEDED, None)
    assert job.step == job.total_steps > 0
    assert {"loss", "learning_rate", "tokens_per_second"} <= studio.metrics(job_id)
    assert adapter.name == f"prices-1st-try-{method}-{job_id}-{adapter.content_hash[:8]}"
    assert adapter.parameters == count(plan.setting, find(plan.base_model).shapes)
    assert 0 < adapter.size_bytes - 4 * adapter.parameters < 20_000  # the header
    assert content_hash(files.adapter_dir(adapter.content_hash)) == adapter.content_hash
    assert content_hash(files.published_dir(adapter.name)) == adapter.content_hash
    wanted = {(s, m) for s in ("adapter", "base") for m in ("loss", "perplexity", "exact_match", "token_f1")}
    assert set(scores) == wanted
    held_out = len(studio.predictions(job_id, "adapter"))
    assert all(score.n == held_out > 0 and score.low <= score.value <= score.high for score in scores.values())
    assert loads_as_lora(studio.base, files.adapter_dir(adapter.content_hash), tmp_path / "lora")


def loads_as_lora(base: Path, adapter: Path, target: Path) -> bool:
    """Plain PEFT takes the exported adapter, and it does something."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = torch.tensor([[3, 4, 5]])
    before = model(ids).logits
    assert PeftConfig.from_pretrained(to_lora(adapter, target)).peft_type == "LORA"
    return not torch.equal(PeftModel.from_pretrained(model, target)(ids).logits, before)


def test_a_twin_takes_the_bases_scores_over(studio: Studio) -> None:
    first, second = (studio.submit(studio.plan(seed=seed)) for seed in (1, 2))
    tasks.run_job(first)
    tasks.run_job(second)
    ours, theirs = studio.scores(second), studio.scores(first)
    assert ours["base", "loss"].value == theirs["base", "loss"].value
    assert ours["adapter", "loss"].value != theirs["adapter", "loss"].value
    assert studio.predictions(second, "base") == studio.predictions(first, "base")


def test_a_row_that_would_teach_nothing_is_left_out_and_told(studio: Studio) -> None:
    rows = rows_of([("Hi", "Hi"), ("x" * 300, "Hi"), ("Ho", "Ho"), ("He", "He")])
    job_id = studio.submit(studio.plan(), add_dataset(rows))
    tasks.run_job(job_id)
    job = studio.job(job_id)
    assert job.status == Status.SUCCEEDED
    assert job.note is not None
    assert job.note.startswith("1 of 4 rows were left out, the first on line 2")


def test_a_dataset_that_teaches_nothing_ends_the_job_with_a_sentence(studio: Studio) -> None:
    job_id = studio.submit(studio.plan(), add_dataset(rows_of([("x" * 300, "Hi"), ("y" * 300, "Hi")])))
    with pytest.raises(ChildFailed):
        tasks.run_job(job_id)
    job = studio.job(job_id)
    assert job.status == Status.FAILED
    assert job.error is not None
    assert job.error.startswith("No row would teach anything")
    assert "DatasetError" in files.job_log(job_id).read_text()


def test_a_cancelled_job_ends_cancelled_within_seconds(studio: Studio) -> None:
    job_id = long_plan(studio)
    thread = in_background(tasks.run_job, job_id)
    until(training(studio, job_id))
    with session() as s:
        jobs.request_cancel(s, job_id)
    asked = time.monotonic()
    until(lambda: studio.job(job_id).status == Status.CANCELLED, 10)
    assert time.monotonic() - asked < supervise.GRACE
    thread.join(10)


def test_a_killed_child_ends_the_job_failed_with_a_sentence(studio: Studio) -> None:
    job_id = long_plan(studio)
    in_background(run_and_fail, job_id)
    until(training(studio, job_id))
    (child,) = children_of(psutil.Process(), job_id)
    child.kill()
    until(lambda: studio.job(job_id).status == Status.FAILED, 10)
    assert "was killed (signal 9)" in (studio.job(job_id).error or "")


def run_and_fail(job_id: int) -> None:
    with pytest.raises(ChildFailed):
        tasks.run_job(job_id)


def test_a_lost_lease_stops_the_child_and_writes_nothing(studio: Studio) -> None:
    job_id = long_plan(studio)
    thread = in_background(tasks.run_job, job_id)
    until(training(studio, job_id))
    with session() as s:
        jobs.sweep(s, now(), jobs.leases(s))
    thread.join(20)
    assert not thread.is_alive()
    job = studio.job(job_id)
    assert (job.status, job.error) == (Status.QUEUED, None)
    assert children_of(psutil.Process(), job_id) == []


def worker_process(job_id: int) -> subprocess.Popen[bytes]:
    """A worker of its own, to be killed."""
    return subprocess.Popen([sys.executable, "-c", f"from worker.tasks import run_job; run_job({job_id})"])


def test_a_killed_worker_leaves_no_orphan_and_the_sweep_queues_the_job_again(studio: Studio) -> None:
    job_id = long_plan(studio)
    worker = worker_process(job_id)
    until(training(studio, job_id))
    (child,) = children_of(psutil.Process(worker.pid), job_id)
    worker.kill()
    worker.wait()
    child.wait(5)
    with session() as s:
        assert jobs.sweep(s, now()) == []  # the lease still runs
        assert jobs.sweep(s, now(), jobs.leases(s)) == [job_id]
    assert studio.job(job_id).status == Status.QUEUED


def test_a_redelivered_message_finds_nothing_to_do(studio: Studio) -> None:
    job_id = long_plan(studio)
    with session() as s:
        assert jobs.claim(s, job_id, "another worker") is not None
    tasks.run_job(job_id)
    assert studio.job(job_id).status == Status.RUNNING
