"""The child that waits: what it runs, what becomes of it, and that it costs nothing but memory."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from db import files
from db.models import Status
from tests.worker.conftest import Studio
from tests.worker.test_jobs import long_plan, training, until
from worker import tasks
from worker.endings import ChildFailed
from worker.spare import spare


@pytest.fixture
def kept(studio: Studio) -> Iterator[None]:
    spare.keep()
    yield
    spare.end()


def spares(of: psutil.Process) -> list[psutil.Process]:
    return [p for p in of.children() if p.cmdline()[1:] == ["-m", "worker.child"]]


def test_a_job_that_trains_runs_in_the_spare_and_another_takes_its_place(studio: Studio, kept: None) -> None:
    (first,) = spares(psutil.Process())
    light, heavy = studio.add("probe", {}, priority=1), studio.submit(studio.plan())
    tasks.run_job(light)  # and then the other
    assert studio.job(light).status == Status.SUCCEEDED
    assert (studio.job(heavy).status, studio.job(heavy).attempt) == (Status.SUCCEEDED, 1)
    assert not first.is_running()
    (second,) = spares(psutil.Process())
    assert second.pid != first.pid
    assert "train_runtime" in files.job_log(heavy).read_text()
    assert files.job_log(light).read_text() == ""


def test_a_spare_that_was_killed_is_missed_by_nobody(studio: Studio, kept: None) -> None:
    (first,) = spares(psutil.Process())
    first.kill()
    job_id = studio.add("evaluate", studio.plan().to_json(), after_id=done(studio))
    with pytest.raises(ChildFailed, match="left no adapter"):
        tasks.run_job(job_id)


def done(studio: Studio) -> int:
    job_id = studio.add("probe", {"steps": 1}, priority=1)
    tasks.run_job(job_id)
    return job_id


def test_a_spare_dies_with_its_worker_at_work_and_idle(studio: Studio) -> None:
    job_id = long_plan(studio)
    program = f"from worker.spare import spare; from worker.tasks import run_job; spare.keep(); run_job({job_id})"
    worker = subprocess.Popen([sys.executable, "-c", program])
    until(training(studio, job_id))
    both = spares(psutil.Process(worker.pid))
    assert len(both) == 2
    worker.kill()
    worker.wait()
    assert psutil.wait_procs(both, timeout=10)[1] == []


def test_loading_touches_no_card_and_leaves_the_process_at_its_own_priority() -> None:
    program = "import os; from worker.child import load_quietly; load_quietly(); "
    program += "import torch; print(torch.cuda.is_initialized(), os.nice(0))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "False 0\n"
