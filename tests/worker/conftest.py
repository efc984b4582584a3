"""A migrated studio with a small dataset and a tiny random Llama; jobs of seconds."""

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from db import files, jobs
from db.jobs import Lease
from db.models import OWNER, Adapter, Dataset, Job, Metric, Score
from db.session import engine, migrate, session
from db.settings import settings
from prolora.base_models import find
from prolora.budget import count
from prolora.dataset import Row, split, write_rows
from prolora.plan import Plan, Setting
from tests.prolora.vllm_server import write_base

PROLORA, LORA = Setting(16, 4, 3, 3), Setting.lora(8)
TEXTS = [(f"How much is item {i}?", f"It is {i} euros.") for i in range(40)]


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder of a migrated studio that the settings name, for child processes too."""
    folder = tmp_path / "data"
    monkeypatch.setenv("STUDIO_DATA", str(folder))
    monkeypatch.setenv("STUDIO_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("STUDIO_DATABASE_URL", raising=False)
    settings.cache_clear()
    migrate()
    yield folder
    engine(settings().sql_url).dispose()
    settings.cache_clear()


def rows_of(texts: list[tuple[str, str]]) -> list[Row]:
    return [
        Row(({"role": "user", "content": question}, {"role": "assistant", "content": answer}), line)
        for line, (question, answer) in enumerate(texts, 1)
    ]


def add_dataset(rows: list[Row]) -> int:
    digest = f"{len(rows):064d}"
    with files.write_aside(files.dataset_dir(digest)) as folder:
        write_rows(folder / "rows.jsonl", rows)
    facts = {"kept": len(rows), "rejected": 0, "held_out": len(split(rows)[1]), "mapping": {}, "form": "alpaca"}
    with session() as s:
        dataset = Dataset(
            owner_id=OWNER, name="items", source_name="items.jsonl", source_hash="5" * 64, content_hash=digest, **facts
        )
        s.add(dataset)
    return dataset.id


@dataclasses.dataclass(frozen=True)
class Studio:
    """Submits jobs on the small dataset and tells what became of them."""

    base: Path
    dataset_id: int

    def plan(self, **changes: Any) -> Plan:
        plan = Plan("prolora", PROLORA, str(self.base), epochs=1, batch_size=8, max_length=128, learning_rate=1e-3)
        return dataclasses.replace(plan, **changes)

    def submit(self, plan: Plan, dataset_id: int | None = None) -> int:
        shapes = find(str(self.base)).shapes
        job = Job(
            owner_id=OWNER,
            dataset_id=dataset_id or self.dataset_id,
            name="Prices, 1st try",
            plan=plan.to_json(),
            parameters=count(plan.setting, shapes),
        )
        with session() as s:
            return jobs.submit(s, job)

    def add(self, kind: str, plan: dict[str, Any], **values: Any) -> int:
        """A job of another kind."""
        usual = {"owner_id": OWNER, "dataset_id": self.dataset_id, "name": kind, "parameters": 0}
        with session() as s:
            return jobs.submit(s, Job(kind=kind, plan=plan, **{**usual, **values}))

    def job(self, job_id: int) -> Job:
        with session() as s:
            return s.get_one(Job, job_id)

    def adapter(self, job_id: int) -> Adapter:
        with session() as s:
            return s.scalars(select(Adapter).where(Adapter.job_id == job_id)).one()

    def scores(self, job_id: int) -> dict[tuple[str, str], Score]:
        with session() as s:
            return {(score.subject, score.metric): score for score in s.scalars(select(Score).filter_by(job_id=job_id))}

    def metrics(self, job_id: int) -> set[str]:
        with session() as s:
            return set(s.scalars(select(Metric.name).where(Metric.job_id == job_id)))

    def predictions(self, job_id: int, subject: files.Subject) -> list[dict[str, Any]]:
        return [json.loads(line) for line in files.predictions(job_id, subject).read_text().splitlines()]


@pytest.fixture
def studio(data: Path, tiny_base: Path) -> Studio:
    return Studio(tiny_base, add_dataset(rows_of(TEXTS)))


@pytest.fixture
def lease(studio: Studio) -> Lease:
    return claimed(studio.submit(studio.plan()))


def claimed(job_id: int) -> Lease:
    with session() as s:
        lease = jobs.claim(s, job_id, "a worker of the tests")
    assert lease is not None
    return lease


def in_background(call: Callable[..., None], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=call, args=args, daemon=True)
    thread.start()
    return thread
