"""How long something takes, and how much memory the processes that it starts hold together at most."""

import resource
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import psutil

Answer = TypeVar("Answer")
EVERY = 0.05  # seconds between two looks


@dataclass(frozen=True)
class Watched(Generic[Answer]):
    answer: Answer
    seconds: float
    busy: float = 0.0  # seconds of cores, of processes that have ended
    megabytes: int = 0  # resident, summed over the processes, so that what they share counts in each


def watched(call: Callable[[], Answer]) -> Watched[Answer]:
    peak, done = [0], threading.Event()
    watcher = threading.Thread(target=_look, args=(peak, done))
    watcher.start()
    started, before = time.perf_counter(), _busy()
    try:
        answer = call()
        seconds, busy = time.perf_counter() - started, _busy() - before
    finally:
        done.set()
        watcher.join()
    return Watched(answer, seconds, busy, peak[0] >> 20)


def _busy() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _look(peak: list[int], done: threading.Event) -> None:
    while not done.wait(EVERY):
        peak[0] = max(peak[0], sum(map(_resident, psutil.Process().children(recursive=True))))


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
