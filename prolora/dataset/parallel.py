"""Work on pieces in other processes, which write what comes of it into one file in the order of the pieces."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeVar

Piece = TypeVar("Piece")
Answer = TypeVar("Answer")
Hand: TypeAlias = "connection.Connection[Any, Any]"  # to a process that works
MOST = 4  # processes; beyond these the one that hands out is what all wait for
DIED = "a process that was reading has died"
AHEAD = 4  # pieces for each process that may be done before their turn


@dataclass(frozen=True)
class _Place:
    """Where in the file the first bytes belong that have no place yet."""

    start: int


def processes() -> int:
    return min(MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def in_order(
    work: Callable[[Piece], tuple[bytes, Answer]], pieces: Iterable[Piece], path: Path, count: int
) -> Iterator[Answer]:
    """What `work`, which must be importable, answers to each piece; the bytes beside its answers go into the file.

    The file must be there. It is whole when the iterator has ended; closing that ends the processes.
    """
    context = get_context("spawn")
    pairs = [context.Pipe() for _ in range(count)]
    crew = [context.Process(target=_serve, args=(theirs, work, path), daemon=True) for _, theirs in pairs]
    try:
        for process, (_, theirs) in zip(crew, pairs, strict=True):
            process.start()
            theirs.close()
        yield from _handed_out(pieces, [ours for ours, _ in pairs])
    finally:
        for process, (ours, _) in zip(crew, pairs, strict=True):
            ours.close()
            if process.pid is not None:
                process.terminate()
                process.join()


def _handed_out(pieces: Iterable[Any], hands: list[Hand]) -> Iterator[Any]:
    coming, idle, busy = enumerate(pieces), list(hands), dict[Hand, int]()
    done: dict[int, tuple[Hand, int, Any]] = {}
    turn = end = 0
    while True:
        while idle and len(done) < AHEAD * len(hands) and (following := next(coming, None)):
            # Only to one that waits for it: two that send to each other at once may wait for ever.
            hand = idle.pop()
            busy[hand], piece = following
            _sent(hand, piece)
        if not busy:
            break
        ready = set(connection.wait(list(busy)))
        for hand in [hand for hand in busy if hand in ready]:
            done[busy.pop(hand)] = (hand, *_received(hand))
            idle.append(hand)
        while turn in done:
            hand, size, answer = done.pop(turn)
            _sent(hand, _Place(end))
            turn, end = turn + 1, end + size
            yield answer
    for hand in hands:
        _sent(hand, None)
        _received(hand)


def _sent(hand: Hand, told: Any) -> None:
    try:
        hand.send(told)
    except ConnectionError as error:
        raise ChildProcessError(DIED) from error


def _received(hand: Hand) -> Any:
    try:
        told = hand.recv()
    except (EOFError, ConnectionError) as error:
        raise ChildProcessError(DIED) from error
    if isinstance(told, Exception):
        raise told
    return told


def _serve(hand: Hand, work: Callable[[Any], tuple[bytes, Any]], path: Path) -> None:
    """In the other process, as long as the first one is there."""
    with suppress(EOFError, ConnectionError):
        try:
            with path.open("r+b") as file:
                _work(hand, work, file)
            hand.send(None)
        except (EOFError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001  # raised again by who asked
            hand.send(error)
            while True:  # there until it has been heard
                hand.recv()


def _work(hand: Hand, work: Callable[[Any], tuple[bytes, Any]], file: BinaryIO) -> None:
    unplaced: deque[bytes] = deque()
    while (told := hand.recv()) is not None:
        if isinstance(told, _Place):
            file.seek(told.start)
            file.write(unplaced.popleft())
            file.flush()
        else:
            text, answer = work(told)
            unplaced.append(text)
            hand.send((len(text), answer))
