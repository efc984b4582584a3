"""Checkpoints of a job: whole or not there, known by the hash of each of their files, and harmless to read.

A folder is written aside and renamed; its row, with the hashes, is written only then. What has no row, or differs from
it by a byte, a file less or a file more, is never read. All files are safetensors or JSON, which cannot run code.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db import files, jobs
from db.jobs import Lease
from db.models import Checkpoint
from db.outage import patiently
from worker.progress import note
from worker.snapshot import Snapshot, Tensors

KEPT = 2  # the second is for the day on which the first cannot be read
RESERVE = 64 * 2**20  # bytes of the disk that checkpoints leave to logs and the database


@dataclass(frozen=True)
class Found:
    """A checkpoint that is as it was written."""

    step: int
    folder: Path

    def tensors(self, name: str) -> Tensors:
        return tensors_of(self.folder, name)

    def facts(self, name: str) -> dict[str, Any]:
        return facts_of(self.folder, name)


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def put(lease: Lease, step: int, snapshot: Snapshot, free: Callable[[Path], int] = free_bytes) -> None:
    """Keep a checkpoint; one that there is no room for is left out, with a note, and those before it stay."""
    run_dir = files.run_dir(lease.job_id)
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if free(run_dir) < snapshot.size + RESERVE:
        note(lease, skipped(step, "the disk is nearly full"))
        return
    forget(lease, [step])  # of an attempt that was not resumed from it
    try:
        hashes = write(folder_of(lease.job_id, step), snapshot)
    except OSError as error:
        note(lease, skipped(step, error.strerror or str(error)))
        return
    patiently(partial(record, lease, step, hashes))
    prune(lease)


def skipped(step: int, why: str) -> str:
    return (
        f"The checkpoint of step {step} could not be written: {why}. After a crash the run goes back to an older one."
    )


def write(target: Path, snapshot: Snapshot) -> dict[str, str]:
    """The hash of each file as it was meant, whatever the disk has made of it."""
    hashes = {}
    with files.write_aside(target) as aside:
        for name, content in serialized(snapshot):
            (aside / name).write_bytes(content)
            hashes[name] = hashlib.sha256(content).hexdigest()
    return hashes


def serialized(snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
    """One file at a time, since each is a copy in memory."""
    for name, group in snapshot.tensors.items():
        tensors = {key: value.cpu().contiguous() for key, value in group.items()}
        yield f"{name}.safetensors", safetensors.torch.save(tensors)
    for name, facts in snapshot.facts.items():
        yield f"{name}.json", json.dumps(facts).encode()


def record(lease: Lease, step: int, hashes: dict[str, str], s: Session) -> None:
    jobs.hold(s, lease)
    s.merge(Checkpoint(job_id=lease.job_id, step=step, hashes=hashes))


def prune(lease: Lease) -> None:
    """Take away all but the last ones, and what killed attempts have left half-written."""
    steps = known(lease.job_id)
    forget(lease, list(steps)[KEPT:])
    whole = {folder_of(lease.job_id, step) for step in steps}
    for pattern in ("checkpoint-*", ".checkpoint-*"):
        for folder in set(files.run_dir(lease.job_id).glob(pattern)) - whole:
            shutil.rmtree(folder, ignore_errors=True)


def forget(lease: Lease, steps: list[int]) -> None:
    """Rows first: a folder without its row is nothing, a row without its folder would be a checkpoint that is torn."""

    def delete_rows(s: Session) -> None:
        jobs.hold(s, lease)
        s.execute(delete(Checkpoint).where(Checkpoint.job_id == lease.job_id, Checkpoint.step.in_(steps)))

    patiently(delete_rows)
    for step in steps:
        shutil.rmtree(folder_of(lease.job_id, step), ignore_errors=True)


def clear(lease: Lease) -> None:
    """Once the adapter is kept, nothing goes on from a checkpoint."""
    forget(lease, list(known(lease.job_id)))
    shutil.rmtree(files.run_dir(lease.job_id), ignore_errors=True)


def last(lease: Lease) -> Found | None:
    """The newest checkpoint that is as it was written; the person is told of any that is not."""
    damaged: list[int] = []
    found = None
    for step, hashes in known(lease.job_id).items():
        if whole(folder_of(lease.job_id, step), hashes):
            found = Found(step, folder_of(lease.job_id, step))
            break
        damaged.append(step)
    if damaged:
        note(lease, damage(damaged, found))
    return found


def damage(steps: list[int], found: Found | None) -> str:
    went_on = f"went on from step {found.step}" if found else "began anew"
    numbers = ", ".join(map(str, steps))
    return f"After a crash the run {went_on}: the checkpoint of step {numbers} is not as it was written."


def known(job_id: int) -> dict[int, dict[str, str]]:
    """The hashes of each checkpoint by its step, newest first."""
    rows = select(Checkpoint.step, Checkpoint.hashes).where(Checkpoint.job_id == job_id)
    newest_first = rows.order_by(Checkpoint.step.desc())
    return patiently(lambda s: dict(s.execute(newest_first).tuples().all()))


def whole(folder: Path, hashes: dict[str, str]) -> bool:
    """Only plain files, exactly those that were written, each byte as it was."""
    try:
        names = {path.name if path.is_file() and not path.is_symlink() else "" for path in folder.iterdir()}
        return names == hashes.keys() and all(digest(folder / name) == sha256 for name, sha256 in hashes.items())
    except OSError:
        return False


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_of(folder: Path, name: str) -> Tensors:
    loaded: Tensors = safetensors.torch.load_file(folder / f"{name}.safetensors")
    return loaded


def facts_of(folder: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / f"{name}.json").read_bytes())
    return loaded


def folder_of(job_id: int, step: int) -> Path:
    return files.run_dir(job_id) / f"checkpoint-{step}"
