"""The tokenizer of a base model, where it lies on this machine already; nothing is fetched."""

import hashlib
from functools import lru_cache
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from prolora.base_models import BaseModel
from prolora.chat import TEMPLATE

FILES = ("tokenizer.json", "tokenizer_config.json")
REMEMBERED = 64


def folder(base: BaseModel) -> Path | None:
    """None for a base of the hub that no training has fetched yet."""
    if base.local:
        return Path(base.source)
    found = try_to_load_from_cache(base.source, FILES[0])
    return Path(found).parent if isinstance(found, str) else None


def fingerprint(place: Path) -> str:
    """Alike for two tokenizers exactly when rows come out alike: of their files, and of the chat template."""
    stats = [path.stat() if path.is_file() else None for path in (place / name for name in FILES)]
    return _fingerprint(place, tuple((each.st_mtime_ns, each.st_size) if each else None for each in stats))


@lru_cache(REMEMBERED)
def _fingerprint(place: Path, _as_of: tuple[tuple[int, int] | None, ...]) -> str:
    hashed = hashlib.sha256(TEMPLATE.encode())
    for path in (place / name for name in FILES):
        hashed.update(hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest())
    return hashed.hexdigest()[:32]
