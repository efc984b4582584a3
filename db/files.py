"""Where every file lies: the only place that builds a path. All of them are under settings().data.

A folder named by its content, a run or a published name is made by whoever fills it, whole and
in one step (`write_aside`); the other folders are made here.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from db.settings import settings

Subject = Literal["adapter", "base"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class UnsafeName(ValueError):  # noqa: N818
    """A name that would lead out of its folder, or hide in it."""


def data_dir() -> Path:
    """Everything the studio keeps; for nobody else to read."""
    path = settings().data.resolve()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def lock_file() -> Path:
    return data_dir() / "studio.lock"


def broker_dir() -> Path:
    return _made("broker")


def log_dir() -> Path:
    return _made("logs")


def uploads_dir() -> Path:
    """For files on their way in; whoever puts one there takes it away again."""
    return _made("uploads")


def upload_dir(key: str) -> Path:
    return uploads_dir() / _safe(key)


@contextmanager
def new_upload_dir(key: str) -> Iterator[Path]:
    """A private folder to fill, which is gone again when the block fails."""
    folder = upload_dir(key)
    folder.mkdir(mode=0o700)
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder
        undo.pop_all()


def staged_dir(key: str, attempt: int) -> Path:
    """What one reading of an upload has made of it."""
    return upload_dir(key) / f"read-{int(attempt)}"


def recipe_dir() -> Path:
    """A new folder for a dataset that is being made; whoever asked for it takes it away."""
    return Path(tempfile.mkdtemp(prefix="recipe-", dir=uploads_dir()))


def intake_log() -> Path:
    return log_dir() / "uploads.log"


def clear_uploads() -> None:
    """What a studio that is gone left half-way."""
    shutil.rmtree(uploads_dir())


def dataset_dir(content_hash: str) -> Path:
    return _named("datasets", content_hash)


def dataset_source(content_hash: str, extension: str) -> Path:
    """The file as it was uploaded; `extension` without its dot."""
    return dataset_dir(content_hash) / f"source.{_safe(extension)}"


def dataset_rows(content_hash: str) -> Path:
    return dataset_dir(content_hash) / "rows.jsonl"


def dataset_rejects(content_hash: str) -> Path:
    return dataset_dir(content_hash) / "rejects.jsonl"


def dataset_originals(content_hash: str) -> Path:
    """The rows that were left out, as they stand in the file that was uploaded."""
    return dataset_dir(content_hash) / "rejects-original"


def survey_near(content_hash: str) -> Path:
    """The near copies among a dataset's rows."""
    return _named("surveys", content_hash) / "near.npy"


def survey_overlap(content_hash: str, benchmark: str) -> Path:
    """The rows of a dataset that share a run of words with a benchmark."""
    return _named("surveys", content_hash) / f"overlap-{_safe(benchmark)}.npy"


def survey_lengths(content_hash: str, tokenizer: str) -> Path:
    """How long a dataset's rows are in the tokens of the tokenizer of this hash."""
    return _named("surveys", content_hash) / f"lengths-{_safe(tokenizer)}.npy"


def survey_log() -> Path:
    return log_dir() / "surveys.log"


def benchmark_root() -> Path:
    """A folder for each imported benchmark."""
    return _made("benchmarks")


def benchmark_dir(name: str) -> Path:
    return _named("benchmarks", name)


def job_dir(job_id: int) -> Path:
    return _made("jobs", str(int(job_id)))


def job_log(job_id: int) -> Path:
    return job_dir(job_id) / "log.txt"


def run_dir(job_id: int) -> Path:
    """The checkpoints of a job."""
    return job_dir(job_id) / "run"


def predictions(job_id: int, subject: Subject) -> Path:
    return job_dir(job_id) / f"predictions-{_safe(subject)}.jsonl"


def adapter_dir(content_hash: str) -> Path:
    return _named("adapters", content_hash)


def published_root() -> Path:
    """What the serving process looks adapters up in, by name."""
    return _made("published")


def published_dir(name: str) -> Path:
    return published_root() / _safe(name)


def expanded_dir(content_hash: str) -> Path:
    """An adapter as a plain LoRA, where prolora.vllm keeps those that it has served."""
    root = published_root()
    return root.parent / f"{root.name}.expanded" / _safe(content_hash)


def shapes_file(config_hash: str) -> Path:
    """The counted shapes of the model whose config.json has this hash."""
    return _made("shapes") / f"{_safe(config_hash)}.json"


@contextmanager
def write_aside(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` when the block ends well: whole, on the disk, or not at all.

    Folders are named by their content or are versioned, so one that is there already is left as it is.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield aside
        _sync_tree(aside)
        if not target.exists():
            _rename(aside, target)
        _sync(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def replace(target: Path) -> Iterator[Path]:
    """A file to fill, which takes the place of `target` when the block ends well: whole, on the disk, or not at all."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(descriptor)
    try:
        yield Path(name)
        _sync(Path(name))
        Path(name).replace(target)
        _sync(target.parent)
    finally:
        Path(name).unlink(missing_ok=True)


def _rename(aside: Path, target: Path) -> None:
    try:
        aside.rename(target)
    except OSError:
        if not target.is_dir():  # else a rival was first, with the same content
            raise


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_symlink():
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _made(*parts: str) -> Path:
    path = data_dir().joinpath(*parts)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _named(folder: str, name: str) -> Path:
    return data_dir() / folder / _safe(name)


def _safe(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UnsafeName(f"{name!r} cannot name a file: letters, digits, dots, hyphens and underscores, no dot first.")
    return name
