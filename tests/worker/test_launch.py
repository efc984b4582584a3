"""How the child of a job is started."""

import sys

import pytest

from db.jobs import Lease
from worker.launch import command
from worker.work import Assignment

LEASE = Lease(7, "host:1:abc", 2)
WORDS = ["-m", "worker.child", "7", "host:1:abc", "2"]


@pytest.mark.parametrize("kind", ["train", "evaluate", "probe"])
def test_a_job_for_one_device_is_one_process(kind: str) -> None:
    assert command(Assignment(LEASE, kind, 1)) == [sys.executable, *WORDS]


def test_a_job_for_several_devices_is_as_many_processes_of_one_host() -> None:
    line = command(Assignment(LEASE, "train", 2))
    assert line[1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert line[6:] == WORDS
