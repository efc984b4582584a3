"""The launcher's children: each on a tether, with a log, started again when it dies unasked."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STEADY = 60.0  # seconds of life after which a death is news and no longer part of a series
LONGEST_PAUSE = 30.0


@dataclass
class Child:
    """One program of the studio."""

    name: str
    command: list[str]
    env: dict[str, str]
    log: Path
    patience: float = 5.0  # seconds between being asked to stop and being killed
    deaths: int = 0
    started: float = 0.0
    again_at: float | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """A session of its own keeps a terminal's Ctrl-C away, so that the launcher stops all in order."""
        command = [sys.executable, "-m", "app.tether", *self.command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
                cwd=ROOT,
                start_new_session=True,
            )
        self.started, self.again_at = time.monotonic(), None

    def look(self, now: float) -> str | None:
        """Start it again if it is time; a sentence when something happened."""
        if self.again_at is not None:
            if now < self.again_at:
                return None
            self.start()
            return f"The {self.name} is started again."
        if self.process is None or self.process.poll() is None:
            return None
        self.deaths = 1 if now - self.started > STEADY else self.deaths + 1
        pause = min(2.0 ** (self.deaths - 1), LONGEST_PAUSE)
        self.again_at = now + pause
        status = self.process.returncode
        return f"The {self.name} stopped (exit {status}); it starts again in {pause:.0f} s. Its log: {self.log}"

    def ask_to_stop(self) -> None:
        self.again_at = None
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def end(self) -> None:
        """Wait as long as patience lasts; then closing the pipe makes the tether kill all below it."""
        if self.process is None or self.process.stdin is None:
            return
        try:
            self.process.wait(self.patience)
        except subprocess.TimeoutExpired:
            self.process.stdin.close()
            self.process.wait()
