"""How the child of a job is started."""

import sys

import psutil
import pytest

from db import jobs
from db.jobs import Lease
from db.models import Job, Status
from db.session import session
from db.settings import settings
from tests.worker.conftest import Studio, in_background
from tests.worker.test_jobs import until
from worker import tasks
from worker.launch import command
from worker.work import Assignment

LEASE = Lease(7, "host:1:abc", 2)
WORDS = ["-m", "worker.child", "7", "host:1:abc", "2"]


@pytest.mark.parametrize("kind", ["train", "evaluate", "probe"])
def test_a_job_for_one_device_is_one_process(kind: str) -> None:
    assert command(Assignment(LEASE, kind, 1)) == [sys.executable, *WORDS]


def test_a_job_for_several_devices_is_as_many_processes_of_one_host() -> None:
    assert command(Assignment(LEASE, "probe", 2)) == [sys.executable, *WORDS]
    line = command(Assignment(LEASE, "train", 2))
    assert line[1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert line[6:] == WORDS


def test_a_job_for_two_devices_ends_like_any_other_and_leaves_no_process(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_GPUS", "2")
    settings.cache_clear()
    job_id = studio.submit(studio.plan(epochs=1_000))
    with session() as s:
        s.get_one(Job, job_id).gpus = 2
    before = set(psutil.Process().children(recursive=True))  # servers that other tests have started
    thread = in_background(tasks.run_job, job_id)
    until(lambda: studio.job(job_id).step > 0)
    children = [each for each in psutil.Process().children(recursive=True) if each not in before]
    assert (
        len([p for p in children if "worker.child" in p.cmdline() and "torch.distributed.run" not in p.cmdline()]) == 2
    )
    with session() as s:
        jobs.request_cancel(s, job_id)
    until(lambda: studio.job(job_id).status == Status.CANCELLED, 20)
    thread.join(10)
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_a_worker_of_one_device_leaves_a_job_for_two_to_larger_ones(studio: Studio) -> None:
    job_id = studio.add("probe", {}, gpus=2)
    tasks.run_job(job_id)
    assert studio.job(job_id).attempt == 0
