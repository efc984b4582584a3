"""The paper's claim on the demo base: `python -m bench.study --data GSM8K_FOLDER`, up to an hour on two cores.

GSM8K_FOLDER holds GSM8K's train.jsonl and test.jsonl. Every finished run is a line of bench/results/study/runs.jsonl,
and a run that is there is not made again; so an interrupted study goes on where it stopped. At the end the tables and
plots are written anew; `--report` does only that.
"""

import argparse
from pathlib import Path

from bench.study import design, report
from bench.study.data import tasks
from bench.study.runs import finished, make

RESULTS = Path(__file__).parents[1] / "results" / "study"
RUNS = RESULTS / "runs.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with GSM8K's train.jsonl and test.jsonl")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--report", action="store_true", help="only write the tables and plots of the finished runs")
    chosen = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if not chosen.report:
        make(design.tuning(), chosen.data, chosen.jobs, RUNS)
        make(design.reported(report.best_rates(finished(RUNS))), chosen.data, chosen.jobs, RUNS)
    report.write(finished(RUNS), tasks(chosen.data), RESULTS)


if __name__ == "__main__":
    main()
