"""Work on pieces in other processes, answered in the order of the pieces and never far ahead of who asks."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

Piece = TypeVar("Piece")
Answer = TypeVar("Answer")
MOST = 4  # processes; beyond these the one that writes is what all wait for


def processes() -> int:
    return min(MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def in_order(function: Callable[[Piece], Answer], pieces: Iterable[Piece], count: int) -> Iterator[Answer]:
    """What `function`, which must be importable, makes of each piece. Closing the iterator ends the processes."""
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_die_with_parent)
    waiting: deque[Future[Answer]] = deque()
    try:
        for piece in pieces:
            waiting.append(pool.submit(function, piece))
            if len(waiting) > 2 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _die_with_parent() -> None:
    """A pool's process waits for work for ever when its parent is killed."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
