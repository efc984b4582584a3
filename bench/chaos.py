"""Light jobs while everything that carries them is killed at random: does each end exactly once?

    python -m bench.chaos --seed 1            # 1,000 jobs on 8 workers, and writes bench/results/chaos.json

Workers, the processes of their jobs, the loop that puts right, who submits, Redis and PostgreSQL get SIGKILL at
times drawn from the seed, from the first job to the last; each comes back after a pause, as a launcher or a container
engine would bring it. A trigger in the database logs each move of a job; the verdict is read from that log.
"""

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from sqlalchemy import func, select

from bench import audit
from bench.audit import Verdict
from bench.fleet import LEASE, Fleet, commands, fleet
from bench.machine import hardware
from db.jobs import ENDINGS
from db.models import Job
from db.outage import DatabaseAway, once
from db.session import engine, migrate, session
from db.settings import settings

RESULTS = Path(__file__).parent / "results" / "chaos.json"
# What is hit, how often beside the others, and for how many seconds it stays away.
VICTIMS: dict[str, tuple[int, tuple[float, float]]] = {
    "worker": (6, (0.5, 3.0)),
    "job": (3, (0.0, 0.0)),
    "reconcile": (2, (0.5, 5.0)),
    "submit": (1, (0.5, 3.0)),
    "broker": (2, (0.5, 10.0)),
    "database": (1, (1.0, 30.0)),
}


class ChaosError(Exception):
    """Jobs that do not come to an end; the text says which."""


@dataclass(frozen=True)
class Run:
    seed: int
    jobs: int = 1000
    workers: int = 8
    blow_every: float = 5.0  # seconds, on average
    blows_for: float = 3600.0  # seconds, after which it may come to rest
    longest_outage: float = 30.0  # of the database
    pause: float = 0.05  # seconds between two jobs that are submitted
    patience: float = 3600.0  # seconds


@dataclass(frozen=True)
class Blow:
    at: float
    victim: str
    away: float
    which: int


def blows(run: Run) -> Iterator[Blow]:
    """Without end."""
    draw, at = random.Random(run.seed), 0.0
    weights = [weight for weight, _ in VICTIMS.values()]
    while True:
        at += draw.expovariate(1 / run.blow_every)
        (victim,) = draw.choices(list(VICTIMS), weights)
        least, most = VICTIMS[victim][1]
        away = draw.uniform(least, min(most, run.longest_outage))
        yield Blow(at, victim, away, draw.randrange(run.workers) + 1)


class Chaos:
    """Deals the blows that are due, and brings back what has been away for long enough."""

    def __init__(self, crew: Fleet, run: Run) -> None:
        self.crew, self.run = crew, run
        self.kills: Counter[str] = Counter()
        self.back: dict[str, float] = {}
        self.coming = blows(run)
        self.next = next(self.coming)

    def go_on(self, at: float) -> None:
        while self.next.at <= min(at, self.run.blows_for):
            self.strike(self.next)
            self.next = next(self.coming)
        self.revive(at)

    def strike(self, blow: Blow) -> None:
        name = f"worker-{blow.which}" if blow.victim in {"worker", "job"} else blow.victim
        if name in self.back or (blow.victim == "submit" and self.crew.running["submit"].poll() == 0):
            return  # away already, or done
        if blow.victim == "job":
            self.kills["job"] += kill_all(self.crew.children(name))
            return
        self.kill(name)
        self.kills[blow.victim] += 1
        self.back[name] = blow.at + blow.away

    def kill(self, name: str) -> None:
        if name in {"database", "broker"}:
            getattr(self.crew, name).kill()
        else:
            self.crew.kill(name)

    def revive(self, at: float) -> None:
        """The dead by our hand when it is time, and those that ended by themselves at once."""
        for name in [name for name, due in self.back.items() if due <= at]:
            del self.back[name]
            if name in {"database", "broker"}:
                getattr(self.crew, name).start()
            else:
                self.crew.start(name)
        for name, process in self.crew.running.items():
            if name not in self.back and process.poll() not in {None, 0}:
                self.crew.start(name)

    def end(self) -> None:
        """Everything back, and no more blows."""
        self.revive(float("inf"))


def kill_all(processes: list[psutil.Process]) -> int:
    for process in processes:
        process.kill()
    return len(processes)


def play(run: Run, data: Path) -> dict[str, Any]:
    """One run from its first job to its last; the report."""
    lines = commands(run.workers) | {"submit": ["bench.submit", str(run.seed), str(run.jobs), str(run.pause)]}
    with fleet(data, lines) as crew:
        use(crew.environment)
        migrate()
        with session() as s:
            audit.watch(s)
        for name in lines:
            crew.start(name)
        chaos, since = Chaos(crew, run), time.monotonic()
        while not ended(run):
            if time.monotonic() - since > run.patience:
                raise ChaosError(f"After {run.patience:.0f} s there are jobs without an end: {left()}")
            chaos.go_on(time.monotonic() - since)
            time.sleep(0.1)
        seconds = time.monotonic() - since
        chaos.end()
        time.sleep(LEASE)  # for whatever would still write an ending
        crew.stop()
        orphans = [" ".join(process.cmdline()) for process in crew.orphans()]
        with session() as s:
            verdict = audit.judge(s)
        engine(settings().sql_url).dispose()
    return report(run, chaos, seconds, verdict) | {"orphans": orphans}


def use(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    settings.cache_clear()


def ended(run: Run) -> bool:
    """Whether every job that is to come has come, and has ended."""
    try:
        return once(lambda s: s.scalar(select(func.count()).where(Job.status.in_(ENDINGS)))) == run.jobs
    except DatabaseAway:
        return False


def left() -> list[int]:
    return once(lambda s: list(s.scalars(select(Job.id).where(Job.status.not_in(ENDINGS)))))


def report(run: Run, chaos: Chaos, seconds: float, verdict: Verdict) -> dict[str, Any]:
    return {
        "run": asdict(run),
        "lease_seconds": LEASE,
        "kills": dict(chaos.kills),
        "seconds": round(seconds, 1),
        "hardware": hardware(),
        "verdict": asdict(verdict),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=Run.jobs)
    parser.add_argument("--workers", type=int, default=Run.workers)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    run = replace(Run(chosen.seed), jobs=chosen.jobs, workers=chosen.workers)
    with TemporaryDirectory(prefix="chaos-", dir="/tmp") as data:
        told = play(run, Path(data))
    chosen.out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))
    return 1 if told["orphans"] or Verdict(**told["verdict"]).faults else 0


if __name__ == "__main__":
    sys.exit(main())
