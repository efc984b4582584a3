"""A base model by name or by folder, and what must be there of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from prolora.base_models import measured
from prolora.base_models.architectures import ARCHITECTURES, Config
from prolora.base_models.catalogue import CATALOGUE, PAPER, SMALL, SMALL_UNDER, STUDIO, BaseModel
from prolora.base_models.shapes import Shapes
from prolora.errors import BaseModelError

LFS_POINTER = b"version https://git-lfs"
T = TypeVar("T")
LONGEST_NAME = 255  # what a row holds of a base's name


def find(name_or_folder: str | None) -> BaseModel:
    """A model of the catalogue, of a folder or of a file of counted shapes, by name; a cleared field says None."""
    name = (name_or_folder or "").strip()
    for base in CATALOGUE:
        if base.name == name:
            return base
    folder = _folder(name)
    if len(str(folder)) > LONGEST_NAME:
        raise BaseModelError(f"The path {folder} is longer than {LONGEST_NAME} characters. Move the model to another.")
    architecture, shapes = measured.read(folder) if folder.suffix == ".json" else _readable(folder, _planned)
    defaults = SMALL if shapes.hidden < SMALL_UNDER else PAPER
    return BaseModel(str(folder), folder.name, str(folder), shapes, defaults, local=True, architecture=architecture)


def trainable(name_or_folder: str | None) -> BaseModel:
    """A base that the studio can train and serve; raises when it can only be planned for, or lacks a part."""
    base = find(name_or_folder)
    if base.architecture not in STUDIO:
        raise BaseModelError(
            f"{base.title} is a {base.architecture}; the studio trains and serves {', '.join(STUDIO)} only. "
            f"`prolora plan --model {base.name}` plans an adapter for it, and PEFT can train it."
        )
    if base.local:
        check_folder(Path(base.source))
    return base


def _folder(name: str) -> Path:
    """The whole path of what is there by this name."""
    try:
        folder = Path(name).expanduser()
        if name and folder.exists():
            return folder.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user, or links that go in a circle
        raise BaseModelError(f"“{name}” cannot be looked at ({error}). Give the folder of a model.") from error
    names = ", ".join(base.name for base in CATALOGUE)
    raise BaseModelError(f"There is no base model called “{name}”. Choose {names}, or give the folder of a model.")


def check_folder(folder: Path) -> Shapes:
    """The shapes of the model in a folder; raises when a part that training needs is missing or of another kind."""
    return _readable(folder, _whole)


def _readable(folder: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(folder)
    except OSError as error:
        raise BaseModelError(f"{folder} cannot be read ({error}). Let the studio's user read it.") from error


def _planned(folder: Path) -> tuple[str, Shapes]:
    """The architecture of a folder's model and its shapes."""
    if not folder.is_dir():
        raise BaseModelError(f"{folder} is not a folder. Give the folder that holds config.json and the weights.")
    fields = _config(folder)
    kinds = fields.get("architectures")
    kinds = [str(kind) for kind in kinds] if isinstance(kinds, list) and kinds else ["a model of no named kind"]
    if known := next((kind for kind in kinds if kind in ARCHITECTURES), None):
        return known, ARCHITECTURES[known](Config(fields, str(folder / "config.json")))
    raise BaseModelError(
        f"{folder} holds {', '.join(kinds)}, which is not known here. Known are {', '.join(ARCHITECTURES)}. "
        f"The studio counts others by `python -m worker.shapes {folder}`, for `prolora plan` to read."
    )


def _whole(folder: Path) -> Shapes:
    architecture, shapes = _planned(folder)
    if architecture not in STUDIO:
        raise BaseModelError(f"{folder} holds {architecture}; the studio trains and serves {', '.join(STUDIO)} only.")
    if _config(folder).get("quantization_config"):
        raise BaseModelError(f"The weights in {folder} are already quantised. Give the full-precision model.")
    _check_weights(folder)
    if not (folder / "tokenizer.json").is_file():
        raise BaseModelError(
            f"{folder} has no tokenizer.json. Save the model's fast tokenizer into it with save_pretrained."
        )
    return shapes


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise BaseModelError(f"{path} cannot be read as JSON ({error}). Copy the file again.") from error
    if not isinstance(value, dict):
        raise BaseModelError(f"{path} does not hold a JSON object. Copy the file again.")
    return value


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").is_file():
        raise BaseModelError(f"{folder} has no config.json, so it is not a model's folder. Choose another.")
    return _read_json(folder / "config.json")


def _check_weights(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    files = [folder / "model.safetensors"]
    if not files[0].is_file() and index.is_file():
        shards = _read_json(index).get("weight_map")
        files = [folder / name for name in sorted(set(map(str, shards.values())))] if isinstance(shards, dict) else []
        if not files:
            raise BaseModelError(f"{index} names no weight files. Copy the model again.")
    for path in files:
        _check_safetensors(path)


def _check_safetensors(path: Path) -> None:
    if not path.is_file():
        raise BaseModelError(
            f"{path.parent} has no weights: {path.name} is missing. Copy the safetensors files into the folder."
        )
    with path.open("rb") as file:
        start = file.read(len(LFS_POINTER))
    if start == LFS_POINTER:
        raise BaseModelError(f"{path} is a Git LFS pointer, not the weights. Run `git lfs pull` where it came from.")
    header = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or header + 8 > path.stat().st_size:
        raise BaseModelError(f"{path} is not a whole safetensors file. Copy it again.")
