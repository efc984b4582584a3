"""Workers, the loop that puts right, PostgreSQL and Redis as processes that a test kills; afterwards all is judged."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Queue

from bench import audit, servers
from bench.fleet import Fleet, commands
from bench.servers import Server
from db.models import OWNER, Job, Metric, Status, now
from db.outage import patiently
from db.queue import JOBS, RUN_JOB
from db.session import migrate, session
from db.settings import settings
from tests import services
from tests.worker.conftest import tiny_base as tiny_base
from tests.worker.test_jobs import until

TIMES = {"STUDIO_LEASE_SECONDS": "3", "STUDIO_RENEW_SECONDS": "0.5"}
LONG = {"steps": 25, "seconds": 0.1}
OLD = now().replace(year=2020)  # rung for at the next sweep, as a job whose own bell was lost


@dataclass(frozen=True)
class Studio:
    """What a test does with the fleet, and sees of its jobs."""

    fleet: Fleet

    def start(self, *names: str) -> None:
        for name in names or self.fleet.commands:
            self.fleet.start(name)

    def submit(self, plan: dict[str, Any] | None = None, **values: Any) -> int:
        usual = {"owner_id": OWNER, "name": "a probe", "kind": "probe", "parameters": 0, "created_at": OLD}

        def add(s: Any) -> int:
            job = Job(**{**usual, "dataset_id": audit.dataset(s), "plan": plan or {"steps": 3}, **values})
            s.add(job)
            s.flush()
            return job.id

        return patiently(add)

    def ring(self, job_id: int) -> None:
        bell = Celery(broker=self.fleet.broker.url)
        bell.conf.task_queues = [Queue(JOBS)]
        bell.send_task(RUN_JOB, args=[job_id], queue=JOBS)

    def job(self, job_id: int) -> Job:
        return patiently(lambda s: s.get_one(Job, job_id))

    def until(self, job_id: int, status: Status) -> Job:
        until(lambda: self.job(job_id).status == status)
        return self.job(job_id)

    def until_step(self, job_id: int, step: int = 1) -> None:
        until(lambda: self.job(job_id).step >= step)

    def holder(self, job_id: int) -> str:
        """The name of the worker that has the job's child."""
        words = ["worker.child", str(job_id)]
        held = [name for name in self.fleet.running for p in self.fleet.children(name) if p.cmdline()[2:4] == words]
        assert len(held) == 1
        return held[0]

    def steps_told(self, job_id: int) -> list[float]:
        with session() as s:
            told = s.query(Metric).filter_by(job_id=job_id, name="steps").order_by(Metric.step)
            return [metric.value for metric in told]

    def moves(self, job_id: int) -> list[Status]:
        with session() as s:
            return audit.moves(s)[job_id]


@pytest.fixture(scope="session")
def own_services() -> Iterator[tuple[Server, Server]]:
    """Not those that other tests use as well: these are killed."""
    with servers.postgresql() as database, servers.redis_server() as broker:
        yield database, broker


@pytest.fixture
def crew(
    own_services: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """Makes the studio of a test, with two workers unless it names other processes; judges it at the end."""
    with ExitStack() as stack:
        yield lambda lines=None: stack.enter_context(judged(own_services, lines or commands(2), tmp_path, monkeypatch))


@pytest.fixture
def studio(crew: Callable[..., Studio]) -> Studio:
    return crew()


@contextmanager
def judged(
    own: tuple[Server, Server], lines: dict[str, list[str]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Studio]:
    database, broker = own
    with services.database(database.url) as url:
        fleet = Fleet(folder / "data", database, broker, lines, {**TIMES, "STUDIO_DATABASE_URL": url})
        for name, value in fleet.environment.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        migrate()
        with session() as s:
            audit.watch(s)
        try:
            yield Studio(fleet)
            fleet.end()
            assert fleet.orphans() == []
            judge(folder / "data")
        finally:
            fleet.end()
            settings.cache_clear()


def judge(data: Path) -> None:
    """Every job has one true ending or runs, and nothing half-written lies about."""
    with session() as s:
        verdict = audit.judge(s)
    assert (verdict.ended_twice, verdict.untrue, verdict.uncounted) == ([], [], [])
    assert [path for path in data.rglob("*") if path.parent.name == "adapters" and path.name.startswith(".")] == []
