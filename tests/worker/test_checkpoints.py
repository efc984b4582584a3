"""Checkpoints as files: whole or not there, known by their hashes, and harmless whatever they hold."""

import json
import pickle
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select

from db import files
from db.jobs import Lease, LeaseLost
from db.models import Checkpoint
from db.session import session
from tests.worker.conftest import Studio
from worker import checkpoints
from worker.snapshot import Snapshot, put_back_random, random_state

ROOM = 2**40


def snapshot(numbers: int = 4) -> Snapshot:
    return Snapshot(tensors={"adapter": {"w": torch.ones(numbers)}}, facts={"steps": {"scheduler": {"last": 0.1}}})


def put(lease: Lease, *steps: int) -> None:
    for step in steps:
        checkpoints.put(lease, step, snapshot())


def steps_in_rows(lease: Lease) -> list[int]:
    with session() as s:
        return sorted(s.scalars(select(Checkpoint.step).where(Checkpoint.job_id == lease.job_id)))


def steps_on_disk(lease: Lease) -> list[str]:
    return sorted(path.name for path in files.run_dir(lease.job_id).iterdir())


def test_the_last_two_are_kept_and_read_as_they_were_written(lease: Lease) -> None:
    put(lease, 5, 10, 15)
    assert steps_in_rows(lease) == [10, 15]
    assert steps_on_disk(lease) == ["checkpoint-10", "checkpoint-15"]
    found = checkpoints.last(lease)
    assert found is not None
    assert found.step == 15
    assert torch.equal(found.tensors("adapter")["w"], torch.ones(4))
    assert found.facts("steps") == {"scheduler": {"last": 0.1}}


def flip(folder: Path) -> None:
    file = folder / "adapter.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def lose(folder: Path) -> None:
    (folder / "steps.json").unlink()


def cut(folder: Path) -> None:
    file = folder / "adapter.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def add(folder: Path) -> None:
    (folder / "optimizer.pt").write_bytes(b"")


@pytest.mark.parametrize("harm", [flip, lose, cut, add])
def test_one_that_is_not_as_it_was_written_gives_way_to_the_one_before(studio: Studio, lease: Lease, harm: Any) -> None:
    put(lease, 5, 10)
    harm(checkpoints.folder_of(lease.job_id, 10))
    found = checkpoints.last(lease)
    assert found is not None
    assert found.step == 5
    assert "went on from step 5: the checkpoint of step 10 is not" in str(studio.job(lease.job_id).note)


def test_without_a_whole_one_the_run_begins_anew_and_says_so(studio: Studio, lease: Lease) -> None:
    assert checkpoints.last(lease) is None
    assert studio.job(lease.job_id).note is None
    put(lease, 5, 10)
    for step in (5, 10):
        flip(checkpoints.folder_of(lease.job_id, step))
    assert checkpoints.last(lease) is None
    assert "began anew: the checkpoint of step 10, 5 is not as it was written" in str(studio.job(lease.job_id).note)


def test_a_folder_without_a_row_is_nothing_and_is_swept_away(lease: Lease) -> None:
    put(lease, 5)
    for name in ("checkpoint-99", ".checkpoint-99.torn"):
        (files.run_dir(lease.job_id) / name).mkdir()
    found = checkpoints.last(lease)
    assert found is not None
    assert found.step == 5
    put(lease, 10)
    assert steps_on_disk(lease) == ["checkpoint-10", "checkpoint-5"]


def test_a_step_that_is_reached_again_is_written_again(lease: Lease) -> None:
    put(lease, 5)
    flip(checkpoints.folder_of(lease.job_id, 5))
    put(lease, 5)
    assert checkpoints.last(lease) is not None


def test_a_disk_that_is_nearly_full_costs_a_checkpoint_and_not_the_run(studio: Studio, lease: Lease) -> None:
    checkpoints.put(lease, 5, snapshot(), free=lambda _: ROOM)
    checkpoints.put(lease, 10, snapshot(), free=lambda _: checkpoints.RESERVE)
    assert steps_in_rows(lease) == [5]
    assert "step 10 could not be written: the disk is nearly full" in str(studio.job(lease.job_id).note)
    checkpoints.put(lease, 15, snapshot(), free=lambda _: ROOM)
    assert steps_in_rows(lease) == [5, 15]


def test_a_disk_that_fills_in_the_middle_leaves_the_one_before(studio: Studio, lease: Lease) -> None:
    put(lease, 5)
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 2**20, most[1]))  # what a write meets half-way
    try:
        checkpoints.put(lease, 10, snapshot(2 * 2**20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert "step 10 could not be written: File too large" in str(studio.job(lease.job_id).note)
    assert steps_on_disk(lease) == ["checkpoint-5"]
    found = checkpoints.last(lease)
    assert found is not None
    assert found.step == 5


def test_who_has_lost_the_job_writes_no_row(studio: Studio, lease: Lease) -> None:
    with pytest.raises(LeaseLost):
        put(Lease(lease.job_id, "somebody else", 1), 5)
    assert steps_in_rows(lease) == []


def test_the_random_states_come_back_through_tensors(tmp_path: Path) -> None:
    import random

    import numpy as np

    def draw() -> tuple[float, float, float, float, float]:
        return (random.random(), random.gauss(), np.random.rand(), np.random.randn(), torch.rand(1).item())

    draw()  # an odd number of normal draws leaves each generator with one in hand
    saved = Snapshot(tensors={"random": random_state()}, facts={})
    checkpoints.write(tmp_path / "one", saved)
    first = draw()
    assert draw() != first
    put_back_random(checkpoints.tensors_of(tmp_path / "one", "random"), rank=0)
    assert draw() == first


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_the_bomb_goes_off_where_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def test_facts_are_json(lease: Lease) -> None:
    put(lease, 5)
    assert json.loads((checkpoints.folder_of(lease.job_id, 5) / "steps.json").read_text())
