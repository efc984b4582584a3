"""An adapter's or a model's folder, written whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import safetensors.torch
from torch import Tensor

from prolora.adapter_file import CONFIG, WEIGHTS, AdapterError


@contextmanager
def aside(target: Path) -> Iterator[Path]:
    """A folder beside `target` that becomes it when all went well; a dot keeps it from being served.

    Raises AdapterError, which names the target, for whatever the disk refuses.
    """
    folder = target.parent / f".{target.name}.{uuid4().hex}"
    try:
        if target.exists() or target.is_symlink():
            raise AdapterError(f"{target} exists already; nothing is ever written over. Give another folder.")
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        yield folder
        for path in (*folder.iterdir(), folder):
            _fsync(path)
        folder.rename(target)
        _fsync(target.parent)
    except OSError as error:
        raise AdapterError(f"{target} cannot be written: {error}. Make room, or give a folder that can be.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load_tensors(source: Path) -> dict[str, Tensor]:
    """The tensors of an adapter's folder that has been read before."""
    loaded: dict[str, Tensor] = safetensors.torch.load_file(source / WEIGHTS)
    return loaded


def write_adapter(
    folder: Path, config: dict[str, Any], tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None
) -> None:
    """The two files; `about` goes into the metadata of the second."""
    (folder / CONFIG).write_text(json.dumps(config, indent=2))  # unsorted: the first pattern that matches counts
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    # Not save_file: it leaves a file that only its owner can read, and servers run as somebody else.
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(whole, metadata={"format": "pt", **(about or {})}))


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
