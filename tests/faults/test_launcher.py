"""The whole studio on one machine, with its own SQLite and Valkey, killed in parts and as a whole."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from bench import audit
from db.models import OWNER, Job, Metric, Status
from db.session import engine, migrate, session
from db.settings import settings
from tests.app.conftest import free_port
from tests.app.test_launcher import of_studio
from tests.faults.conftest import OLD, TIMES
from tests.worker.test_jobs import until

STEPS = 40


class House:
    """A studio that may be started again and again on one data folder."""

    def __init__(self, data: Path, port: int) -> None:
        self.data, self.port = str(data), port
        self.launcher: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.launcher = subprocess.Popen([sys.executable, "-m", "app"], stdout=subprocess.DEVNULL)
        until(self.answers)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as reply:
                return reply.status == 200
        except OSError:
            return False

    def processes(self, *words: str) -> list[psutil.Process]:
        """Those of this studio, this test's own process excepted, whose command ends in these words."""
        every = [process for process in of_studio(self.data) if process.pid != os.getpid()]
        return [process for process in every if not words or tuple(process.cmdline()[-len(words) :]) == words]

    def kill_all(self) -> None:
        """All within a moment, as when the power goes."""
        everything = self.processes()
        for process in everything:
            process.suspend()
        for process in everything:
            process.kill()
        if self.launcher is not None:
            self.launcher.wait()
        assert wait_until_gone_but_us(self) == []


def wait_until_gone_but_us(house: House) -> list[psutil.Process]:
    for process in house.processes():
        process.wait(10)
    return house.processes()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    port = free_port()
    chosen = {"STUDIO_DATA": str(tmp_path / "data"), "STUDIO_PORT": str(port), "OMP_NUM_THREADS": "1", **TIMES}
    chosen |= {"STUDIO_SERVE_BASE": str(tmp_path / "none")}  # no model is served here
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    for name in ("STUDIO_DATABASE_URL", "STUDIO_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    settings.cache_clear()
    migrate()
    with session() as s:
        audit.watch(s)
    made = House(tmp_path / "data", port)
    try:
        yield made
        with session() as s:
            verdict = audit.judge(s)
        assert verdict.faults == []
    finally:
        made.kill_all()
        engine(settings().sql_url).dispose()
        settings.cache_clear()


def submit() -> int:
    with session() as s:
        job = Job(owner_id=OWNER, name="a probe", kind="probe", parameters=0, created_at=OLD,
                  dataset_id=audit.dataset(s), plan={"steps": STEPS, "seconds": 0.1})  # fmt: skip
        s.add(job)
        s.flush()
        return job.id


def job(job_id: int) -> Job:
    with session() as s:
        return s.get_one(Job, job_id)


def succeeded(job_id: int) -> Callable[[], bool]:
    return lambda: job(job_id).status == Status.SUCCEEDED


def steps_told(job_id: int) -> list[float]:
    with session() as s:
        return [m.value for m in s.query(Metric).filter_by(job_id=job_id, name="steps").order_by(Metric.step)]


def test_a_page_that_is_killed_comes_back_and_no_job_notices(house: House) -> None:
    house.start()
    job_id = submit()
    until(lambda: job(job_id).step > 0)
    (page,) = house.processes("-m", "app.main")[-1:]
    page.kill()
    until(lambda: not house.answers())
    until(house.answers)
    until(succeeded(job_id))
    assert job(job_id).attempt == 1


@pytest.mark.parametrize("how", ["launcher", "everything"])
def test_after_the_launcher_or_everything_was_killed_a_start_goes_on_where_jobs_were(house: House, how: str) -> None:
    house.start()
    job_id = submit()
    until(lambda: job(job_id).step > 2)
    if how == "everything":
        house.kill_all()
    else:
        assert house.launcher is not None
        house.launcher.kill()
        house.launcher.wait()
        assert wait_until_gone_but_us(house) == []
    assert job(job_id).status == Status.RUNNING
    reached = job(job_id).step
    house.start()
    until(succeeded(job_id))
    assert (job(job_id).attempt, job(job_id).losses) == (2, 1)
    assert reached < STEPS
    assert steps_told(job_id) == [float(step) for step in range(1, STEPS + 1)]
    with session() as s:
        assert s.scalar(text("PRAGMA integrity_check")) == "ok"
