"""The paper's claim on the demo base: `python -m bench.study --data GSM8K_FOLDER`, up to an hour on two cores.

GSM8K_FOLDER holds GSM8K's train.jsonl and test.jsonl. Every finished run is a line of bench/results/study/runs.jsonl,
and a run that is there is not made again; so an interrupted study goes on where it stopped. At the end the tables and
plots are written anew; `--report` does only that.
"""

import argparse
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from bench.study import design, report
from bench.study.data import tasks
from bench.study.design import Run
from bench.study.run import Outcome, outcome

RESULTS = Path(__file__).parents[1] / "results" / "study"
RUNS = RESULTS / "runs.jsonl"
RUNS_A_PROCESS = 6  # a process grows by half a gigabyte a run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with GSM8K's train.jsonl and test.jsonl")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--report", action="store_true", help="only write the tables and plots of the finished runs")
    chosen = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if not chosen.report:
        make(design.tuning(), chosen.data, chosen.jobs)
        make(design.reported(report.best_rates(finished())), chosen.data, chosen.jobs)
    report.write(finished(), tasks(chosen.data), RESULTS)


def make(runs: Sequence[Run], data: Path, jobs: int) -> None:
    """Make the runs that are not there yet, and keep each as soon as it is finished."""
    done = {found.key for found in finished() if found.task == tasks(data).content_hash}
    missing = [run for run in runs if run.key not in done]
    for first in range(0, len(missing), RUNS_A_PROCESS * jobs):
        print(f"{first} of {len(missing)} runs made", flush=True)
        _make(missing[first : first + RUNS_A_PROCESS * jobs], data, jobs)


def _make(runs: Sequence[Run], data: Path, jobs: int) -> None:
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for each in as_completed([pool.submit(_outcome, run, data) for run in runs]):
            found = each.result()
            with RUNS.open("a") as file:
                file.write(json.dumps(found.to_json()) + "\n")
            print(f"{found.key} {sum(found.losses):.1f} nats, {found.seconds:.0f} s", flush=True)


def _outcome(run: Run, data: Path) -> Outcome:
    return outcome(run, tasks(data))


def finished() -> list[Outcome]:
    return list(_read()) if RUNS.exists() else []


def _read() -> Iterator[Outcome]:
    for line in RUNS.read_text().splitlines():
        found = json.loads(line)
        yield Outcome(**found | {"setting": tuple(found["setting"]), "losses": tuple(found["losses"])})


if __name__ == "__main__":
    main()
