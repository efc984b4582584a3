"""Runs one command so that nothing of it outlives the launcher: `python -m app.tether COMMAND...`.

Its standard input is a pipe that the launcher holds open. End of file there means that the launcher is
gone, however it went, and everything below this process is killed. SIGTERM is passed on to the command.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main(command: list[str]) -> int:
    """The command's own exit status, once nothing that it started is left."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # on Linux a grandchild whose parent died stays below this process
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the launcher's to answer
    threading.Thread(target=_kill_at_end_of_file, daemon=True).start()
    status = child.wait()
    _kill_descendants()
    return status if status >= 0 else 128 - status


def _die_with_parent() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _kill_at_end_of_file() -> None:
    while os.read(0, 1):
        pass
    _kill_descendants()


def _kill_descendants() -> None:
    """Again until there are none: a process may have forked between the look and the blow."""
    while below := psutil.Process().children(recursive=True):
        for process in below:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(below, timeout=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
