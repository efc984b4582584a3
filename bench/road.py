"""How long the road takes: `python -m bench.road bench/results/road.json` on an installed environment.

Starts the studio on a fresh data folder and measures, as a person would feel it, in seconds: the start to an
answering page and to a serving process that is ready; one default job from queueing to its leaderboard row;
both twins; and the playground's first token from an adapter that the server has never seen.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app import intake
from app.services import chat, jobs, leaderboard, planning, uploads
from bench.machine import hardware
from db import broker
from db.settings import settings
from prolora.base_models import find
from prolora.dataset import Choices

QUESTION = "Hello, Nora here. Order 48213: the copper kettle is damaged."
PATIENCE = 900.0  # seconds for any one wait


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path)
    result = parser.parse_args().result
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder) / "data")
        start = time.monotonic()
        with studio():
            figures = {"page answers": time.monotonic() - start}
            wait(lambda: chat.serving().ready)
            figures["model server ready"] = time.monotonic() - start
            figures |= train()
            figures |= talk()
    report = {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "hardware": hardware(), **figures}
    result.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def prepare(data: Path) -> None:
    """This process is a second client of the studio's rows, so both read the same settings."""
    os.environ |= {"STUDIO_DATA": str(data), "STUDIO_SERVE_KEY": "of-this-benchmark"}
    for name in ("STUDIO_PORT", "STUDIO_SERVE_PORT"):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            os.environ[name] = str(listener.getsockname()[1])
    settings.cache_clear()


@contextmanager
def studio() -> Iterator[None]:
    """What `make studio` runs once everything is installed; entered when the page answers."""
    process = subprocess.Popen([sys.executable, "-m", "app"], stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None or "http://" not in process.stdout.readline():
            raise RuntimeError("The studio did not start.")
        # The launcher's own broker: named only now, since a named one would not be started.
        os.environ["STUDIO_REDIS_URL"] = broker.choose().url
        settings.cache_clear()
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def train() -> dict[str, Any]:
    """One job alone, then a run with its twin; the studio's defaults, by the service that the wizard calls."""
    upload = uploads.sample()
    intake.read(upload.key, uploads.renew(upload, Choices()))
    dataset = uploads.keep(upload, "Tickets").id
    alone, _ = timed(lambda: run(dataset, twin=False))
    both, both_ids = timed(lambda: run(dataset, twin=True))
    scores = {
        f"{entry.method} exact match": [entry.base_scores["exact_match"], entry.scores["exact_match"]]
        for entry in leaderboard.entries()
        if entry.job_id in both_ids
    }
    return {
        "one job to its row": alone,
        "both twins to their rows": both,
        "base and adapter": scores,
    }


def run(dataset: int, *, twin: bool) -> list[int]:
    base = find("demo")
    offered = planning.offer("demo", f"rank {base.defaults.lora_rank}")
    setting = offered.choices[0].setting
    chosen = jobs.Choice(
        dataset=dataset,
        base="demo",
        budget=f"rank {base.defaults.lora_rank}",
        setting=f"{setting.r},{setting.u},{setting.m},{setting.n}",
        name="",
        epochs=base.defaults.epochs,
        learning_rate=base.defaults.learning_rate,
        seed=1,
        batch_size=base.defaults.batch_size,
        max_length=base.defaults.max_length,
        quantization=base.defaults.quantization,
        twin=twin,
    )
    ids = jobs.start(chosen)
    wait(lambda: not jobs.unfinished())
    rows = {entry.job_id for entry in leaderboard.entries()}
    if not rows.issuperset(ids):
        raise RuntimeError(f"Of the jobs {ids} only {rows} reached the leaderboard.")
    return ids


def talk() -> dict[str, float]:
    """The first question to each adapter: the server has not read it before."""
    names = [model.name for model in chat.models() if model.method]
    return {f"first token, {name}": asyncio.run(first_token(name)) for name in names}


async def first_token(model: str) -> float:
    turn = chat.Turn(model, ({"role": "user", "content": QUESTION},))
    base = chat.Turn("demo", turn.messages)
    async for reply, _ in chat.stream_pair(turn, base, chat.Options(max_tokens=8)):
        if reply.error:
            raise RuntimeError(reply.error)
    if reply.first_token is None:
        raise RuntimeError(f"{model} answered nothing.")
    return reply.first_token


def timed(work: Callable[[], list[int]]) -> tuple[float, list[int]]:
    start = time.monotonic()
    done = work()
    return time.monotonic() - start, done


def wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Nothing happened in {PATIENCE:.0f} s.")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
