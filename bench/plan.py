"""How long `prolora plan` takes as a process, and that it imports nothing heavy.

python -m bench.plan             # prints a table and writes bench/results/plan.json
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.machine import hardware

RESULTS = Path(__file__).parent / "results" / "plan.json"
RUNS, WARM_UP = 15, 2
HEAVY = ("torch", "transformers", "peft")
# 5M is under one LoRA rank of a 70B, so that it is refused with the smallest budget; the others are planned.
ASKED = (
    ("--model", "llama-2-70b", "--budget", "5M"),
    ("--model", "llama-2-70b", "--budget", "100M"),
    ("--model", "llama-2-70b", "--budget", "rank 8", "--json"),
    ("--model", "llama-2-70b", "--budget", "5M", "--targets", "q_proj,v_proj"),
)
PROBE = (
    "import sys; from prolora.cli import main; code = main(sys.argv[1:]); "
    f"print('LOADED', *[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
)


def seconds(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Of the clock, and of a core: the first grows where other processes run beside it."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "prolora.cli", "plan", *arguments], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, busy


def loaded(arguments: tuple[str, ...]) -> list[str]:
    """Which heavy packages the command leaves in a fresh process."""
    command = [sys.executable, "-c", PROBE, "plan", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stderr.split("LOADED")[-1].split()


def case(arguments: tuple[str, ...]) -> dict[str, Any]:
    code = subprocess.run([sys.executable, "-m", "prolora.cli", "plan", *arguments], capture_output=True).returncode
    taken = [seconds(arguments) for _ in range(WARM_UP + RUNS)][WARM_UP:]
    return {
        "command": " ".join(("prolora plan", *arguments)),
        "exit_code": code,
        "median_seconds": round(statistics.median(clock for clock, _ in taken), 4),
        "slowest_seconds": round(max(clock for clock, _ in taken), 4),
        "cpu_seconds": round(statistics.median(busy for _, busy in taken), 4),
        "heavy_imports": loaded(arguments),
    }


def main() -> None:
    cases = [case(arguments) for arguments in ASKED]
    for each in cases:
        heavy = ", ".join(each["heavy_imports"]) or "nothing heavy"
        print(f"{each['command']:<70}{each['median_seconds']:>7.3f} s ({each['cpu_seconds']:.3f} of a core), {heavy}")
    about = {"hardware": hardware(), "python": sys.version.split()[0], "runs": RUNS, "load": os.getloadavg()[0]}
    RESULTS.write_text(json.dumps({"about": about, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
