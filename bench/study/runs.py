"""Runs are made several at a time, and each is kept as soon as it is finished."""

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from bench.study.data import tasks
from bench.study.design import Run
from bench.study.run import Outcome, outcome

RUNS_A_PROCESS = 6  # a process grows by half a gigabyte a run


def make(runs: Sequence[Run], data: Path, jobs: int, store: Path) -> None:
    """Make the runs that `store`, one JSON object a line, does not have yet."""
    done = {found.key for found in finished(store) if found.task == tasks(data).content_hash}
    missing = [run for run in runs if run.key not in done]
    for first in range(0, len(missing), RUNS_A_PROCESS * jobs):
        print(f"{first} of {len(missing)} runs made", flush=True)
        _make(missing[first : first + RUNS_A_PROCESS * jobs], data, jobs, store)


def finished(store: Path) -> list[Outcome]:
    return list(_read(store)) if store.exists() else []


def _make(runs: Sequence[Run], data: Path, jobs: int, store: Path) -> None:
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for each in as_completed([pool.submit(_outcome, run, data) for run in runs]):
            found = each.result()
            with store.open("a") as file:
                file.write(json.dumps(found.to_json()) + "\n")
            print(f"{found.key} {sum(found.losses):.1f} nats, {found.seconds:.0f} s", flush=True)


def _outcome(run: Run, data: Path) -> Outcome:
    return outcome(run, tasks(data))


def _read(store: Path) -> Iterator[Outcome]:
    for line in store.read_text().splitlines():
        found = json.loads(line)
        yield Outcome(**found | {"setting": tuple(found["setting"]), "losses": tuple(found["losses"])})
