"""One child that has loaded what training needs, and waits for a job: an idle worker starts one within seconds.

It has touched no card and claimed nothing, and dies with its worker like any child.
"""

import subprocess
from contextlib import suppress

import structlog

from db.jobs import Lease
from worker import launch

log = structlog.get_logger()


class Spare:
    """Keeps one from when it is asked to."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def keep(self) -> None:
        """Without room for another process there is none, and the next job starts a child of its own."""
        try:
            self._process = launch.process([*launch.CHILD], launch.environment(1), None)
        except OSError as error:
            self._process = None
            log.warning("no spare child", error=str(error))

    def take(self, lease: Lease) -> subprocess.Popen[bytes] | None:
        """The child, which runs this job from now on; another takes its place. None where none is kept, or it died."""
        taken = self._process
        if taken is None:
            return None
        heard = told(taken, lease)
        self.keep()
        return taken if heard else None

    def end(self) -> None:
        if self._process is not None:
            launch.kill(self._process)
            self._process = None


def told(process: subprocess.Popen[bytes], lease: Lease) -> bool:
    """Whether it lived to hear of its job."""
    if process.stdin is not None and process.poll() is None:
        with suppress(BrokenPipeError):
            process.stdin.write(f"{lease.job_id} {lease.owner} {lease.attempt}\n".encode())
            process.stdin.flush()
            return True
    launch.kill(process)
    return False


spare = Spare()
