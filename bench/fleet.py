"""The studio's processes without a page, on a PostgreSQL and a Redis of their own: killed and started again at will."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench import servers
from bench.servers import Server

ROOT = Path(__file__).resolve().parent.parent
LEASE, RENEW = 6.0, 1.0  # seconds


@dataclass
class Fleet:
    data: Path
    database: Server
    broker: Server
    commands: dict[str, list[str]]
    settings: Mapping[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "STUDIO_DATA": str(self.data),
            "STUDIO_DATABASE_URL": self.database.url,
            "STUDIO_REDIS_URL": self.broker.url,
            "STUDIO_LEASE_SECONDS": str(LEASE),
            "STUDIO_RENEW_SECONDS": str(RENEW),
            "STUDIO_SPARE": "false",  # probes load no torch
            "OMP_NUM_THREADS": "1",
            **self.settings,
        }

    def start(self, name: str, more: Mapping[str, str] | None = None) -> None:
        log = self.data / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", *self.commands[name]],
                cwd=ROOT,
                env={**os.environ, **self.environment, **(more or {})},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                preexec_fn=servers.die_with_us,
            )

    def kill(self, name: str) -> None:
        """SIGKILL for this one process alone."""
        self.running[name].kill()
        self.running[name].wait()

    def children(self, name: str) -> list[psutil.Process]:
        """The jobs that a worker runs now."""
        with suppress(psutil.NoSuchProcess):
            return list(psutil.Process(self.running[name].pid).children())
        return []

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def end(self) -> None:
        for name in self.running:
            self.kill(name)

    def alive(self) -> list[psutil.Process]:
        """Whatever still runs for this folder, wherever it hangs."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                ours = process.environ().get("STUDIO_DATA") == str(self.data)
                if ours and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                    found.append(process)
        return found

    def orphans(self, patience: float = 5.0) -> list[psutil.Process]:
        """Of a fleet that was stopped or killed: what did not go within a few seconds."""
        deadline = time.monotonic() + patience
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left


def commands(workers: int) -> dict[str, list[str]]:
    """The processes by name: the workers, and the loop that puts right what they leave."""
    lines = {f"worker-{n}": ["worker", "--hostname", f"worker-{n}@%h"] for n in range(1, workers + 1)}
    return lines | {"reconcile": ["worker.reconcile"]}


@contextmanager
def fleet(data: Path, lines: dict[str, list[str]], settings: Mapping[str, str] | None = None) -> Iterator[Fleet]:
    """On services of its own; nothing is started of the fleet itself, and nothing is left of it."""
    with servers.postgresql() as database, servers.redis_server() as broker, ExitStack() as stack:
        made = Fleet(data, database, broker, lines, settings or {})
        stack.callback(made.end)
        yield made
