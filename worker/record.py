"""What a job ran on, written into its row when it starts: what is needed to run it again."""

import hashlib
import platform
import socket
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from db import jobs
from db.jobs import Lease
from db.outage import patiently
from prolora.base_models import BaseModel
from prolora.devices import devices
from worker.work import Work

ROOT = Path(__file__).parent.parent
OURS = ("db", "prolora", "worker")  # what a job runs
OTHERS = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "safetensors", "tokenizers", "numpy")
SAMPLE = 2**20  # bytes at either end of a file


def note(lease: Lease, **facts: Any) -> None:
    """Add to the job's record; a later attempt writes over what it finds otherwise."""
    patiently(lambda s: jobs.record(s, lease, facts))


def note_inputs(work: Work, base: BaseModel, folder: Path) -> None:
    """What a job that trains or measures starts from, besides its plan."""
    note(work.lease, seed=work.plan.seed, dataset=work.dataset_hash, base_revision=revision(base, folder))


def surroundings() -> dict[str, Any]:
    """The machine and everything installed on it that a result may depend on."""
    found = devices()
    return {
        "code": code(),
        "versions": versions(),
        "host": socket.gethostname(),
        "device": found[0].name,
        "device_bytes": found[0].memory_bytes,
        "devices": len(found),
    }


@cache
def code() -> str:
    """The release, and a hash of our own source as it runs, which knows of changes that were never committed."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in OURS for path in (ROOT / folder).rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return f"{_version('prolora')}+{digest.hexdigest()[:12]}"


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: _version(name) for name in OTHERS}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def revision(base: BaseModel, folder: Path) -> str:
    """Which weights these are: the hub's commit, or a hash of a local folder's names, sizes and ends of files.

    The ends and not the whole: training changes every tensor, and tens of gigabytes would be read for each job.
    """
    if not base.local:
        return folder.name
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".model")):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(SAMPLE))
            file.seek(max(path.stat().st_size - SAMPLE, 0))
            digest.update(file.read())
    return digest.hexdigest()
