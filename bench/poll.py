"""What the page's look at a running job takes in a full database, on SQLite and on PostgreSQL.

    python -m bench.poll             # prints a table and writes bench/results/poll.json

10,000 jobs and 5 million metric rows, a tenth of them of the one job that is looked at, which goes on meanwhile. Each
look is the page's whole handler: its questions to the database, the curves thinned there, and what the browser is sent.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.orm import Session

from app.pages import jobs as page
from app.pages.jobfilters import View
from app.services.jobs import Filter
from bench.machine import hardware
from bench.servers import postgresql
from db import files
from db.models import OWNER, Batch, Dataset, Job, Metric, Status, now
from db.session import engine, migrate, session
from db.settings import settings

RESULTS = Path(__file__).parent / "results" / "poll.json"
METRICS = ("loss", "validation_loss", "learning_rate", "tokens_per_second", "memory")
LIMIT_MS = 50.0


@dataclass(frozen=True)
class Size:
    jobs: int = 10_000
    steps: int = 90  # of each of them that are written down, for each metric
    long_steps: int = 100_000  # of the job that is looked at
    looks: int = 100


def measure(size: Size) -> dict[str, Any]:
    """Fill the database of the settings, and look at it."""
    migrate()
    with session() as s:
        running = fill(s, size)
    files.job_log(running).write_text("".join(f"step {step}: loss {1 / (step + 1):.6f}\n" for step in range(5_000)))
    with session() as s:
        s.connection().execute(text("ANALYZE"))
        rows = s.scalar(select(func.count()).select_from(Metric))
        count = s.scalar(select(func.count()).select_from(Job))
    cases: dict[str, Callable[[], Any]] = {
        "first look at a running job": lambda: page.show(running, ANY, None),
        "look at a running job with new points": Watched(running, size.long_steps),
        "look at a running job without new points": Idle(running),
        "list of all jobs": lambda: page.show(None, ANY, None),
        "last page of the list": lambda: page.show(None, View(Filter(), size.jobs // 50), None),
        "list by state, method and words": lambda: page.show(None, View(SOME, 1), None),
    }
    return {"jobs": count, "metric_rows": rows} | {name: times(case, size.looks) for name, case in cases.items()}


ANY, SOME = View(Filter(), 1), Filter(state="succeeded", method="lora", text="run 77")


class Watched:
    """A page that stays open while the job writes."""

    def __init__(self, job_id: int, step: int) -> None:
        self.job_id, self.step, self.drawn = job_id, step, None

    def __call__(self) -> None:
        self.drawn = page.show(self.job_id, ANY, self.drawn)[DRAWN]

    def go_on(self) -> None:
        """The worker's part, which is not timed."""
        self.step += 1
        with session() as s:
            s.execute(update(Job).where(Job.id == self.job_id).values(step=self.step))
            s.execute(insert(Metric), [point(self.job_id, name, self.step) for name in METRICS])


class Idle(Watched):
    def __init__(self, job_id: int) -> None:
        super().__init__(job_id, 0)

    def go_on(self) -> None:
        """Nothing was written since the last look."""


DRAWN = page.Live._fields.index("drawn")


def times(case: Callable[[], Any], looks: int) -> dict[str, float]:
    """In milliseconds; the first look, which prepares statements, is not counted.

    `cpu` is this process's own part, which does not grow where other programs run beside it; with SQLite it is all.
    """
    taken, busy = [], []
    for _ in range(looks + 1):
        if isinstance(case, Watched):
            case.go_on()
        started, before = time.perf_counter(), time.process_time()
        case()
        taken.append(1000 * (time.perf_counter() - started))
        busy.append(1000 * (time.process_time() - before))
    return {
        "p50_ms": round(statistics.median(taken[1:]), 2),
        "p95_ms": round(statistics.quantiles(taken[1:], n=20)[-1], 2),
        "cpu_p50_ms": round(statistics.median(busy[1:]), 2),
        "cpu_p95_ms": round(statistics.quantiles(busy[1:], n=20)[-1], 2),
    }


def fill(s: Session, size: Size) -> int:
    """The number of the job that runs and has the long history."""
    dataset = Dataset(owner_id=OWNER, name="rows", source_name="rows.jsonl", source_hash="5" * 64,
                      content_hash="c" * 64, form="alpaca", mapping={}, kept=9, rejected=0, held_out=1)  # fmt: skip
    batches = [Batch(owner_id=OWNER, name=f"sweep {number}", grid={}) for number in range(20)]
    s.add_all([dataset, *batches])
    s.flush()
    rows = [job(number, dataset.id, batches[number % 20].id) for number in range(size.jobs)]
    s.execute(insert(Job), rows)
    numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :last) "
    names = " UNION ALL ".join(f"SELECT '{name}' AS name" for name in METRICS)
    points = f"SELECT j.id, m.name, n.i, 1.0 / (n.i + 1) FROM jobs j, n, ({names}) m WHERE j.id"  # noqa: S608
    for which, last in (("<> :running", size.steps - 1), ("= :running", size.long_steps - 1)):
        statement = f"INSERT INTO metrics (job_id, name, step, value) {numbers}{points} {which}"
        if s.get_bind().dialect.name == "sqlite":  # which wants the WITH in front
            statement = f"{numbers}INSERT INTO metrics (job_id, name, step, value) {points} {which}"
        s.execute(text(statement), {"running": size.jobs, "last": last})
    return size.jobs


def job(number: int, dataset_id: int, batch_id: int) -> dict[str, Any]:
    """The last of them runs; of the others a few wait, and the rest have ended in every way."""
    states = (Status.SUCCEEDED,) * 7 + (Status.FAILED, Status.CANCELLED, Status.QUEUED)
    running = (number + 1) % 10_000 == 0
    setting = {"r": 8, "u": 8, "m": 1, "n": 1} if number % 2 else {"r": 32, "u": 4, "m": 7, "n": 7}
    plan = {"method": "lora" if number % 2 else "prolora", "setting": setting, "base_model": "demo", "seed": 1,
            "learning_rate": 2e-4, "target_modules": ["q_proj", "k_proj"]}  # fmt: skip
    return {
        "owner_id": OWNER,
        "dataset_id": dataset_id,
        "name": f"run {number}",
        "plan": plan,
        "parameters": 155_648,
        "pair": f"pair {number // 2}",
        "batch_id": batch_id if number % 3 else None,
        "status": Status.RUNNING if running else states[number % 10],
        "stage": "Training",
        "step": 100_000 if running else 90,
        "total_steps": 200_000 if running else 90,
        "started_at": now(),
        "attempt": 1,
    }


def point(job_id: int, name: str, step: int) -> dict[str, Any]:
    return {"job_id": job_id, "name": name, "step": step, "value": 1 / (step + 1)}


@contextmanager
def studio(database_url: str) -> Iterator[None]:
    """A data folder for the time of the measurement; an empty address means SQLite inside it."""
    with TemporaryDirectory(prefix="poll-", ignore_cleanup_errors=True) as folder:
        os.environ.update({"STUDIO_DATA": folder, "STUDIO_DATABASE_URL": database_url})
        settings.cache_clear()
        yield
        engine(settings().sql_url).dispose()


def both(size: Size) -> dict[str, Any]:
    with studio(""):
        found = {"sqlite": measure(size)}
    with postgresql() as server, studio(server.url):
        return found | {"postgresql": measure(size)}


def main() -> None:
    found = both(Size())
    for database, cases in found.items():
        for name, case in cases.items():
            if isinstance(case, dict):
                print(f"{database:<12}{name:<45}" + "".join(f"{key} {value:>8.2f}   " for key, value in case.items()))
    about = {
        "hardware": hardware(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "limit_ms": LIMIT_MS,
    }
    RESULTS.write_text(json.dumps({"about": about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
