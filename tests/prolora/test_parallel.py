"""Pieces worked on in other processes, and what these write."""

import os
import time
from pathlib import Path

import psutil
import pytest

from prolora.dataset.element import Flaws
from prolora.dataset.json_files import JsonLines, elements_of
from prolora.dataset.parallel import AHEAD, in_order
from prolora.dataset.source import open_file

SIZE = 300_000  # more than a pipe holds


def told(piece: int) -> tuple[bytes, bytes]:
    """Much both ways; the first takes longest."""
    time.sleep(0.2 if piece == 0 else 0)
    return b"%d\n" % piece * (piece % 5), bytes(SIZE)


def reach(piece: bytes) -> tuple[bytes, int]:
    return piece, len(piece)


def failing(piece: int) -> tuple[bytes, int]:
    if piece == 3:
        raise OSError(28, "No space left on device")
    return b"x", piece


def dying(piece: int) -> tuple[bytes, int]:
    if piece == 3:
        os._exit(9)
    return b"x", piece


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rows"
    path.touch()
    return path


def test_answers_and_bytes_come_in_the_order_of_the_pieces(path: Path) -> None:
    assert [len(answer) for answer in in_order(told, range(20), path, 2)] == [SIZE] * 20
    assert path.read_bytes() == b"".join(b"%d\n" % piece * (piece % 5) for piece in range(20))


def test_large_pieces_and_large_answers_never_wait_for_each_other(path: Path) -> None:
    pieces = [bytes([number]) * SIZE for number in range(12)]
    assert list(in_order(reach, pieces, path, 2)) == [SIZE] * 12
    assert path.read_bytes() == b"".join(pieces)


def test_pieces_are_taken_only_as_they_are_needed(path: Path) -> None:
    taken = []
    answers = in_order(told, (taken.append(piece) or piece for piece in range(1_000)), path, 2)
    next(answers)
    assert len(taken) <= 2 * AHEAD + 2 * 2
    answers.close()


def test_a_fault_in_another_process_is_raised_here_as_it_is(path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as error:
        list(in_order(failing, range(9), path, 2))
    assert error.value.errno == 28


def test_a_disk_that_is_full_is_told_by_who_writes_to_it(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        list(in_order(told, range(50), full, 2))


def test_a_process_that_dies_is_told_and_nobody_waits_for_it(path: Path) -> None:
    with pytest.raises(ChildProcessError, match="has died"):
        list(in_order(dying, range(9), path, 2))


def test_no_process_stays_behind(path: Path) -> None:
    answers = in_order(told, range(100), path, 2)
    next(answers)
    crew = [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())]
    assert len(crew) == 2
    answers.close()
    assert not any(each.is_running() for each in crew)


def test_a_stretch_is_the_block_it_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [b'{"text": "%d"}' % number for number in range(200_000)]
    lines[100] = b'{"text": "' + b"x" * (17 << 20) + b'"}'
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    container = open_file(path)
    assert isinstance(container, JsonLines)
    stretches = list(container.pieces())
    assert all(type(each).__name__ == "Stretch" for each in stretches)
    for stretch, block in zip(stretches, container.blocks(), strict=True):
        assert (stretch.line, stretch.data) == (block.line, block.data)
    rows = [element for each in stretches for element in elements_of(each, Flaws())]
    assert [row.line for row in rows] == list(range(1, len(lines) + 1))
    assert [row.line for row in rows if row.problem] == [101]
