"""Datasets of a hub, or of a local folder of the same form: their configs and splits, and fetching one split as a file.

The library `datasets` only says which files make up a split; its readers guess types and rewrite strings, so rows
are left to prolora.dataset. No code of a dataset is run.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from app.services.hub import shards
from app.services.hub.listing import blocks, fingerprint, is_local, listing
from app.services.hub.patterns import configs
from db.settings import settings
from prolora.errors import DatasetError

Progress = Callable[[int, int], None]  # bytes done, bytes in all; raises to stop


@dataclass(frozen=True)
class Choices:
    """What there is to choose from: the splits of every config with files that the studio reads."""

    name: str
    revision: str  # the full commit; empty for a folder
    splits: dict[str, tuple[str, ...]]  # a README's default config comes first

    @property
    def configs(self) -> tuple[str, ...]:
        return tuple(self.splits)


@dataclass(frozen=True)
class Split:
    """The files of one split, pinned.

    `revision` is the full commit of a hub's dataset, and of a folder a hash of the files' names and contents;
    `files` are relative to the dataset, `size` is their bytes in all.
    """

    name: str
    config: str
    split: str
    revision: str
    files: tuple[str, ...]
    size: int


def choices(name: str, revision: str | None = None) -> Choices:
    """The configs and splits of `owner/name` on the hub, or of an absolute folder (whose revision does not count)."""
    found = listing(name, revision)
    splits = {config: tuple(files) for config, files in configs(found).items()}
    return Choices(name, found.revision, splits)


def resolve(name: str, config: str, split: str, revision: str | None = None) -> Split:
    """The files of a split, `max_upload_mb` at most in all. An empty config means the only one there is."""
    found = listing(name, revision)
    config, files = _choose(name, config, split, configs(found))
    size = sum(found.sizes[file] for file in files)
    if size > settings().max_upload_mb << 20:
        raise DatasetError(
            f"The split {split} of {name} has {shards.megabytes(size)} in {len(files)} file(s), and the studio takes "
            f"{settings().max_upload_mb} MB. Choose another split or config, or raise STUDIO_MAX_UPLOAD_MB."
        )
    pinned = found.revision or fingerprint(files, [Path(name) / file for file in files])
    if not found.revision and revision not in (None, "", pinned):
        raise DatasetError(
            f"The files in {name} are not, or no longer, those of revision {revision}. Leave the revision empty."
        )
    return Split(name, config, split, pinned, tuple(files), size)


def fetch(split: Split, folder: Path, progress: Progress) -> Path:
    """One file in `folder`, which is there, with all rows of the split; shards are joined in their order.

    Whatever stops it, `progress` included, nothing is left behind.
    """
    shards.check(split.name, split.files)
    try:
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as draft:
            parts = _download(split, Path(draft), progress)
            whole = parts[0] if len(parts) == 1 else shards.join(parts, Path(draft) / split.split)
            return whole.replace(folder / whole.name)
    except OSError as error:
        raise DatasetError(
            f"{split.name} cannot be stored: {error.strerror or error}. See that the studio's disk has room, "
            "and try again."
        ) from error


def _choose(name: str, config: str, split: str, found: dict[str, dict[str, list[str]]]) -> tuple[str, list[str]]:
    config = config or (next(iter(found)) if len(found) == 1 else "")
    if config not in found:
        asked = f"no config named “{config}”" if config else "several configs"
        raise DatasetError(f"{name} has {asked}. Choose one of: {', '.join(found)}.")
    splits = found[config]
    if split in splits:
        return config, splits[split]
    if list(splits) == ["test"]:
        raise DatasetError(f"{name} has only a split named “test”. Choose “test” if you mean to train on it.")
    raise DatasetError(
        f"The config {config} of {name} has no split named “{split}”. Choose one of: {', '.join(splits)}."
    )


def _download(split: Split, draft: Path, progress: Progress) -> list[Path]:
    parts, done = [], 0
    progress(0, split.size)
    for number, file in enumerate(split.files):
        (draft / str(number)).mkdir()  # shards of two folders may have one name
        parts.append(draft / str(number) / PurePosixPath(file).name)
        with parts[-1].open("wb") as copy:
            for block in blocks(split.name, split.revision, file):
                done += len(block)
                if done > split.size:
                    break
                copy.write(block)
                progress(done, split.size)
    if is_local(split.name) and fingerprint(split.files, parts) != split.revision:
        raise DatasetError(f"The files in {split.name} have changed meanwhile. Choose the split again.")
    if done != split.size:
        raise DatasetError(f"{split.name} did not come as announced, with {split.size:,} bytes. Try again.")
    return parts
