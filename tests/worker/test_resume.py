"""A run that was killed and goes on is the run that was not killed."""

import hashlib
import os
import pickle
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from sqlalchemy import delete, func, select

from db import files, jobs
from db.jobs import Lease
from db.models import Checkpoint, Metric
from db.session import engine, session
from db.settings import settings
from tests.worker.conftest import LORA, TEXTS, Studio, add_dataset, claimed, rows_of
from tests.worker.test_checkpoints import Bomb
from worker import checkpoints, road, work

LONG = " And why is that so, if I may ask?"
# Lengths that differ, so that grouping by them matters.
ROWS = rows_of([(question + LONG * (i % 4), answer) for i, (question, answer) in enumerate([*TEXTS, *TEXTS[:4]])])
SAME = ("loss", "grad_norm", "learning_rate", "validation_loss")
WATCHED = {"validation_share": 0.2, "evaluate_every": 2, "patience": 50}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the processes that are killed, so that sums are added up in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def curve(job_id: int, name: str) -> dict[int, float]:
    with session() as s:
        rows = select(Metric.step, Metric.value).where(Metric.job_id == job_id, Metric.name == name)
        return dict(s.execute(rows.order_by(Metric.step)).tuples().all())


def reached(job_id: int) -> int:
    with session() as s:
        return s.scalar(select(func.max(Metric.step)).where(Metric.job_id == job_id, Metric.name == "loss")) or 0


def killed(lease: Lease, step: int) -> None:
    """Run the job in a process of its own, and kill that with signal 9 once it has told `step`."""
    process = os.fork()
    if not process:
        try:
            engine(settings().sql_url).dispose(close=False)  # the parent's connection
            torch.set_num_threads(1)  # a fork does not have its parent's threads
            road.travel(work.load(lease))
        finally:
            os._exit(1)
    until = time.monotonic() + 60
    while reached(lease.job_id) < step and time.monotonic() < until:
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status)
    with session() as s:
        jobs.release(s, lease)


def adapter_of(studio: Studio, job_id: int) -> dict[str, torch.Tensor]:
    folder = files.adapter_dir(studio.adapter(job_id).content_hash)
    loaded: dict[str, torch.Tensor] = load_file(folder / "adapter_model.safetensors")
    return loaded


PLANS = {
    "grouped, in two passes, LoRA+, full precision": {
        "quantization": "none",
        "accumulation": 2,
        "b_lr_ratio": 4.0,
        "unshared_lr_ratio": 0.5,
    },
    "NF4, watched": {"method": "lora", "setting": LORA, **WATCHED},
    "packed, not grouped, activations computed twice": {
        "packing": True,
        "group_by_length": False,
        "gradient_checkpointing": True,
    },
}


@pytest.mark.parametrize("name", PLANS)
def test_a_run_killed_at_random_steps_equals_one_that_was_not(studio: Studio, name: str) -> None:
    plan = studio.plan(epochs=3, dropout=0.1, **PLANS[name])
    dataset_id = add_dataset(ROWS)
    whole = claimed(studio.submit(plan, dataset_id))
    road.travel(work.load(whole))

    steps = studio.job(whole.job_id).total_steps
    job_id = studio.submit(plan, dataset_id)
    draw = random.Random(name)
    for step in (draw.randrange(2, steps // 2), draw.randrange(steps // 2, steps - 1)):
        killed(claimed(job_id), step)
    assert checkpoints.known(job_id)
    road.travel(work.load(claimed(job_id)))

    assert max(curve(whole.job_id, "loss")) == steps
    for metric in SAME:
        assert curve(job_id, metric) == pytest.approx(curve(whole.job_id, metric), abs=1e-5), metric
    alike = zip(adapter_of(studio, job_id).values(), adapter_of(studio, whole.job_id).values(), strict=True)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in alike)
    of_whole = {key: score.value for key, score in studio.scores(whole.job_id).items()}
    assert {key: score.value for key, score in studio.scores(job_id).items()} == pytest.approx(of_whole, abs=1e-5)


@pytest.fixture
def cut(studio: Studio) -> Lease:
    """A job that was killed when it had a checkpoint, and is claimed anew."""
    job_id = studio.submit(studio.plan(epochs=3, quantization="none"), add_dataset(ROWS))
    killed(claimed(job_id), 6)
    assert checkpoints.known(job_id)
    return claimed(job_id)


# All names that transformers and accelerate would read, and ours.
READ = (
    *("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "rng_state_0.pth", "optimizer.bin"),
    *("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "model.pkl", "random_states_0.pkl"),
)


def arm(lease: Lease, mark: Path, own: bool) -> None:
    """Put a bomb into each checkpoint under every name, with hashes that say it is what the job wrote."""
    for step in checkpoints.known(lease.job_id):
        folder = checkpoints.folder_of(lease.job_id, step)
        for number, name in enumerate([*READ, *([path.name for path in folder.iterdir()] if own else [])]):
            if number % 2:
                torch.save(Bomb(mark), folder / name)
            else:
                (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
        hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        with session() as s:
            s.execute(delete(Checkpoint).where(Checkpoint.job_id == lease.job_id, Checkpoint.step == step))
            s.add(Checkpoint(job_id=lease.job_id, step=step, hashes=hashes))


def test_bombs_beside_a_checkpoint_are_never_unpickled_even_when_the_hashes_know_them(
    studio: Studio, cut: Lease, tmp_path: Path
) -> None:
    arm(cut, tmp_path / "mark", own=False)
    road.travel(work.load(cut))
    assert max(curve(cut.job_id, "loss")) == studio.job(cut.job_id).total_steps
    assert not (tmp_path / "mark").exists()


def test_bombs_in_place_of_a_checkpoint_end_the_job_and_do_not_go_off(cut: Lease, tmp_path: Path) -> None:
    arm(cut, tmp_path / "mark", own=True)
    with pytest.raises((SafetensorError, ValueError)):
        road.travel(work.load(cut))
    assert not (tmp_path / "mark").exists()


def test_bombs_that_no_hash_knows_let_the_run_begin_anew(studio: Studio, cut: Lease, tmp_path: Path) -> None:
    with session() as s:
        s.execute(delete(Metric).where(Metric.job_id == cut.job_id))
    known = checkpoints.known(cut.job_id)
    arm(cut, tmp_path / "mark", own=True)
    with session() as s:
        for step, hashes in known.items():
            s.merge(Checkpoint(job_id=cut.job_id, step=step, hashes=hashes))
    road.travel(work.load(cut))
    assert min(curve(cut.job_id, "loss")) == 1
    assert "began anew" in str(studio.job(cut.job_id).note)
    assert not (tmp_path / "mark").exists()
