"""What the queue costs: `python -m bench.queue bench/results/queue.json`, or with `--pairs 1 --starts 3` a short one.

Two questions, on the demo base with the sample dataset and the defaults. How long after a job is queued is its first
training step done, on an idle worker that keeps a spare child and on one that keeps none? And how much longer does
training itself take as a job, under a supervisor that renews its lease and with rows and checkpoints, than alone?
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from app import intake
from app.services import planning, uploads
from bench.machine import hardware
from db import broker, files, jobs
from db.models import OWNER, Dataset, Job, Status
from db.queue import enqueue
from db.session import migrate, session
from db.settings import settings
from prolora.base_models import find
from prolora.dataset import Choices
from prolora.plan import Plan
from worker import tasks

PATIENCE = 1800.0
QUIET = 2.0  # seconds in which a process that waits uses no core
RUNTIME = re.compile(r"'train_runtime': '?([0-9.]+)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(Path(folder) / "data")
        figures: dict[str, Any] = {}
        with own_broker():
            for name, spare in (("with a spare", "true"), ("cold", "false")):
                figures[f"enqueue to first step, {name}"] = starts(dataset, asked.starts, spare)
                write(asked.result, figures)
        figures["supervision"] = supervision(dataset, asked.pairs)
        write(asked.result, figures)
    print(asked.result.read_text())


def write(result: Path, figures: dict[str, Any]) -> None:
    """After each part; each says how busy the machine was."""
    about = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(),
        "niceness": os.nice(0),
    }
    result.write_text(json.dumps({"about": about, **figures}, indent=1) + "\n")


def prepare(data: Path) -> int:
    """A fresh studio with the sample dataset; its id."""
    os.environ["STUDIO_DATA"] = str(data)
    settings.cache_clear()
    os.environ["STUDIO_REDIS_URL"] = broker.choose().url
    settings.cache_clear()
    migrate()
    upload = uploads.sample()
    intake.read(upload.key, uploads.renew(upload, Choices()))
    return uploads.keep(upload, "Tickets").id


@contextmanager
def own_broker() -> Iterator[None]:
    with running(list(broker.choose().command), {}):
        yield


@contextmanager
def running(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (files.log_dir() / "bench.log").open("ab") as log:
        process = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def plan() -> Plan:
    base = find("demo")
    given = base.defaults
    setting = planning.offer("demo", f"rank {given.lora_rank}").choices[0].setting
    return Plan(
        method="prolora",
        setting=setting,
        base_model=base.name,
        quantization=given.quantization,
        alpha=given.alpha_of(setting),
        dropout=given.dropout,
        learning_rate=given.learning_rate,
        epochs=given.epochs,
        batch_size=given.batch_size,
        max_length=given.max_length,
    )


def submit(dataset: int) -> int:
    job = Job(owner_id=OWNER, dataset_id=dataset, name="bench", plan=plan().to_json(), parameters=0)
    with session() as s:
        return jobs.submit(s, job)


def found(job_id: int) -> Job:
    with session() as s:
        return s.get_one(Job, job_id)


def starts(dataset: int, times: int, spare: str) -> dict[str, Any]:
    """Seconds from the row and the bell to the first step, on a worker that is idle each time."""
    with running([sys.executable, "-m", "worker"], {"STUDIO_SPARE": spare}) as worker:
        taken, load = [], []
        for _ in range(times):
            wait_until_idle(psutil.Process(worker.pid), children=int(spare == "true"))
            load.append(os.getloadavg()[0])
            taken.append(first_step(dataset))
            print(f"spare {spare}: {taken[-1]:.2f} s, load before {load[-1]:.1f}", flush=True)
    ordered = sorted(taken)
    return {
        "p50": round(statistics.median(taken), 3),
        "p95": round(ordered[-(-95 * len(ordered) // 100) - 1], 3),
        "seconds": [round(each, 3) for each in taken],
        "load": load,
    }


def first_step(dataset: int) -> float:
    start = time.monotonic()
    job_id = submit(dataset)
    enqueue(job_id)
    wait(lambda: found(job_id).step > 0 or found(job_id).status in jobs.ENDINGS)
    taken = time.monotonic() - start
    if found(job_id).status in jobs.ENDINGS:
        raise RuntimeError(f"The job ended before its first step: {found(job_id).error}")
    with session() as s:
        jobs.request_cancel(s, job_id)
    wait(lambda: found(job_id).status == Status.CANCELLED)
    return taken


def wait_until_idle(worker: psutil.Process, children: int) -> None:
    """Until the worker and its spare use no core any more."""

    def used() -> tuple[int, float]:
        family = [worker, *worker.children(recursive=True)]
        return len(family), sum(sum(process.cpu_times()[:2]) for process in family)

    def still() -> bool:
        before = used()
        time.sleep(QUIET)
        after = used()
        return before[0] == after[0] == 1 + children and after[1] - before[1] < QUIET / 20

    time.sleep(QUIET)
    wait(still)


def supervision(dataset: int, pairs: int) -> dict[str, Any]:
    """Seconds of training by the trainer's own watch: alone and as a job, in turns, so that a busy hour meets both."""
    alone, as_job, load = [], [], []
    for _ in range(pairs):
        load.append(os.getloadavg()[0])
        alone.append(bare(dataset))
        as_job.append(supervised(dataset))
        print(f"alone {alone[-1]} s, as a job {as_job[-1]} s, load before {load[-1]:.1f}", flush=True)
    shares = [job / one - 1 for one, job in zip(alone, as_job, strict=True)]
    return {
        "load": load,
        "alone_seconds": alone,
        "as_job_seconds": as_job,
        "median_share": round(statistics.median(shares), 4),
        "shares": [round(share, 4) for share in shares],
    }


def bare(dataset: int) -> float:
    """The same trainer in a process of its own, without rows and checkpoints."""
    with session() as s:
        digest = s.get_one(Dataset, dataset).content_hash
    program = f"from bench.queue import train_alone; train_alone({digest!r})"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return runtime(said.stdout)


def train_alone(digest: str) -> None:
    """Torch is loaded by this process alone: the one that measures would be in its way."""
    from prolora.chat import ChatTokenizer
    from prolora.dataset import read_rows, split
    from worker import base, base_files, road, train

    asked = plan()
    folder = base_files.folder(find(asked.base_model))
    rows, _ = split(read_rows(files.dataset_rows(digest)))
    lesson = road.lesson_of(asked, ChatTokenizer(folder), rows)
    model = train.attach(base.load(folder, asked.quantization, asked.max_length), asked)
    with tempfile.TemporaryDirectory() as aside:
        trainer = train.trainer_of(asked, model, lesson.examples, Path(aside))
        trainer.args.set_save("no")
        trainer.train()


def supervised(dataset: int) -> float:
    """A whole job; this process is its worker."""
    job_id = submit(dataset)
    tasks.run_job(job_id)
    return runtime(files.job_log(job_id).read_text())


def runtime(log: str) -> float:
    told = RUNTIME.findall(log)
    if not told:
        raise RuntimeError(f"The trainer told no time: {log[-2000:]}")
    return float(told[-1])


def wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Nothing happened in {PATIENCE:.0f} s.")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
