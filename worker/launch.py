"""How a child is started and ended: its command line, the cards it may see, and where its words go."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import IO

from db import files
from prolora.devices import cards
from worker.steps import STEPS
from worker.work import Assignment

CHILD = (sys.executable, "-m", "worker.child")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def start(assignment: Assignment) -> subprocess.Popen[bytes]:
    log = files.job_log(assignment.lease.job_id)
    with log.open("ab") as sink:
        return process(command(assignment), environment(assignment.gpus), sink)


def process(line: list[str], env: dict[str, str], log: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """In a group of its own: a terminal's Ctrl-C is the worker's to answer, and all of it can be killed as one.

    Not in a session: Linux shares its time out among sessions first, and a spare's low priority would be void.
    """
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env, process_group=0)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The child and the processes that it has started in its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def command(assignment: Assignment) -> list[str]:
    """A job for several devices is as many processes of one host; a light one computes nothing on them."""
    lease = assignment.lease
    several = (*TORCHRUN, str(assignment.gpus)) if assignment.gpus > 1 and STEPS[assignment.kind].heavy else ()
    return [CHILD[0], *several, *CHILD[1:], str(lease.job_id), lease.owner, str(lease.attempt)]


def environment(gpus: int) -> dict[str, str]:
    """Only as many of this worker's cards as the job asks for: the trainer would use all that it sees."""
    seen = cards()[:gpus]
    pinned = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(card.id for card in seen)}
    return {**os.environ, **(pinned if seen else {})}
