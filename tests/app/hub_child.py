"""A studio's hub module in a process of its own, since the hub's address is read at import: calls in, answers out."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.services import hub
from prolora.errors import DatasetError


def fetched(name: str, split: str, folder: str) -> dict[str, Any]:
    seen: list[tuple[int, int]] = []
    file = hub.fetch(hub.resolve(name, "", split), Path(folder), lambda done, total: seen.append((done, total)))
    return {"file": str(file), "seen": seen}


def loaded() -> list[str]:
    return [name for name in ("torch", "transformers", "peft") if name in sys.modules]


def limited(size: int) -> None:
    """No file may grow over `size` bytes from now on."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


CALLS = {
    "choices": lambda *arguments: asdict(hub.choices(*arguments)),
    "resolve": lambda *arguments: asdict(hub.resolve(*arguments)),
    "fetch": fetched,
    "loaded": loaded,
    "limited": limited,
}

if __name__ == "__main__":
    for line in sys.stdin:
        call, *arguments = json.loads(line)
        try:
            answer = {"answer": CALLS[call](*arguments)}
        except DatasetError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
