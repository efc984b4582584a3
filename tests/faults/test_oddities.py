"""What should not happen and does: bells that ring twice, two sweepers, wrong clocks, older workers, a full disk."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from bench.fleet import commands
from db.models import Adapter, Status, now
from db.session import session
from prolora.plan import Plan
from tests.faults.conftest import LONG, Studio
from tests.worker.conftest import PROLORA, TEXTS, add_dataset, rows_of
from tests.worker.test_jobs import until
from worker.endings import NO_SPACE

HOUR = 3600


def test_a_message_delivered_many_times_runs_its_job_once(studio: Studio) -> None:
    studio.start("worker-1", "worker-2")
    job_id = studio.submit()
    for _ in range(6):
        studio.ring(job_id)
    studio.until(job_id, Status.SUCCEEDED)
    studio.ring(job_id)
    marker = studio.submit()
    studio.ring(marker)
    studio.until(marker, Status.SUCCEEDED)
    assert studio.moves(job_id) == [Status.RUNNING, Status.SUCCEEDED]


def test_two_sweepers_at_once_count_a_lost_worker_once(crew: Callable[..., Studio]) -> None:
    studio = crew(commands(2) | {"second-reconcile": ["worker.reconcile"]})
    studio.start()
    job_id = studio.submit(LONG)
    studio.until_step(job_id)
    studio.fleet.kill(studio.holder(job_id))
    assert studio.until(job_id, Status.SUCCEEDED).losses == 1
    assert studio.moves(job_id) == [Status.RUNNING, Status.QUEUED, Status.RUNNING, Status.SUCCEEDED]


def test_a_worker_of_an_older_version_leaves_alone_what_it_does_not_know(crew: Callable[..., Studio]) -> None:
    studio = crew(commands(1) | {"older": ["tests.faults.older"]})
    studio.start("older", "reconcile")
    job_id = studio.submit()
    heard = studio.fleet.data / "logs" / "older.log"
    studio.ring(job_id)
    until_written(heard, "bell")
    assert studio.job(job_id).status == Status.QUEUED
    studio.start("worker-1")
    studio.ring(job_id)
    assert studio.until(job_id, Status.SUCCEEDED).attempt == 1


def until_written(log: Path, word: str) -> None:
    deadline = time.monotonic() + 60
    while word not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


class Clock:
    """The wall clock of some processes, put wrong by a library that goes before the system's own."""

    def __init__(self, folder: Path) -> None:
        self.file, self.library = folder / "clock", folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(self.library), str(source), "-ldl"], check=True)
        self.put(0)

    def put(self, seconds: int) -> None:
        self.file.write_text(str(seconds))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "CLOCK": str(self.file)}


@pytest.mark.parametrize("who", ["reconcile", "worker-1"])
def test_a_clock_that_jumps_takes_no_job_from_its_worker(studio: Studio, tmp_path: Path, who: str) -> None:
    clock = Clock(tmp_path)
    for name in ("worker-1", "reconcile"):
        studio.fleet.start(name, clock.environment if name == who else None)
    running = studio.submit({"steps": 60, "seconds": 0.1})
    studio.until_step(running, 3)
    waiting = []
    for offset in (HOUR, -HOUR, 0):
        clock.put(offset)
        waiting.append(studio.submit())
        until(lambda at=offset, last=waiting[-1]: is_off(written(studio, who, running, last), at))
    for job_id in (running, *waiting):
        job = studio.until(job_id, Status.SUCCEEDED)
        assert (job.attempt, job.losses) == (1, 0)


def written(studio: Studio, who: str, running: int, waiting: int) -> datetime | None:
    """A time that this process writes again and again."""
    return studio.job(waiting).sent_at if who == "reconcile" else studio.job(running).lease_until


def is_off(time: datetime | None, seconds: float) -> bool:
    return time is not None and abs((time - now()).total_seconds() - seconds) < HOUR / 2


class Disk:
    """Of a few megabytes: a file system of its own where that may be mounted, else a limit on the worker's files."""

    def __init__(self, place: Path, size: int = 24 * 2**20) -> None:
        place.mkdir(parents=True)
        self.place = place
        line = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
        self.mounted = subprocess.run(line, capture_output=True, check=False).returncode == 0

    def fill(self, studio: Studio) -> None:
        if self.mounted:
            line = ["dd", "if=/dev/zero", f"of={self.place / 'ballast'}", "bs=4k"]
            assert b"No space left" in subprocess.run(line, capture_output=True, check=False).stderr
            return
        for process in studio.fleet.children("worker-1"):
            process.rlimit(psutil.RLIMIT_FSIZE, (1024, 1024))

    def free(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.place)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "data")
    with ExitStack() as stack:
        stack.callback(made.free)
        yield made


def test_a_disk_that_fills_while_a_run_trains_costs_its_checkpoints_and_leaves_no_half_adapter(
    disk: Disk, studio: Studio, tiny_base: Path
) -> None:
    dataset_id = add_dataset(rows_of(TEXTS))
    plan = Plan("prolora", PROLORA, str(tiny_base), epochs=8, batch_size=4, max_length=128, learning_rate=1e-3)
    job_id = studio.submit(plan.to_json(), kind="train", dataset_id=dataset_id)
    studio.start("worker-1", "reconcile")
    studio.until_step(job_id)
    disk.fill(studio)
    job = studio.until(job_id, Status.FAILED)
    assert job.error == NO_SPACE
    with session() as s:
        assert s.query(Adapter).count() == 0
    assert list((disk.place / "adapters").glob("*")) == []
