"""The queue as its users meet it: in processes of their own, with a real broker between them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from db import broker
from db.queue import MOST_WAITING
from tests.db.test_broker import socket_of, started

RING = "import sys; from db.queue import enqueue; enqueue(int(sys.argv[1]))"


def ring(url: str, job_id: int) -> str:
    """Enqueue in a fresh process, as the page's would; what it says of it."""
    done = subprocess.run(
        [sys.executable, "-c", RING, str(job_id)],
        env={**os.environ, "STUDIO_REDIS_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stderr


@contextmanager
def worker(url: str, heard: Path) -> Iterator[None]:
    command = "-m celery -A tests.db.listener:queue worker -P threads -c 1 -Q jobs --without-gossip --without-mingle"
    environment = {**os.environ, "STUDIO_REDIS_URL": url, "HEARD": str(heard)}
    listening = subprocess.Popen([sys.executable, *command.split()], env=environment)
    try:
        yield
    finally:
        listening.terminate()
        listening.wait(30)


def wait_until_heard(heard: Path, ids: set[int]) -> None:
    """Once or more: a bell whose hearing could not be acknowledged rings again, and its job is claimed once only."""
    deadline = time.monotonic() + 60
    while not heard.exists() or {int(word) for word in heard.read_text().split()} != ids:
        assert time.monotonic() < deadline, heard.read_text() if heard.exists() else "nothing was heard"
        time.sleep(0.05)


def test_a_bell_outlives_a_killed_broker_and_a_worker_finds_the_next_one(data: Path, tmp_path: Path) -> None:
    chosen, heard = broker.choose(), tmp_path / "heard"
    with started(chosen):
        ring(chosen.url, 1)
    with ExitStack() as stack:
        with started(chosen):
            stack.enter_context(worker(chosen.url, heard))
            wait_until_heard(heard, {1})
        with started(chosen):
            ring(chosen.url, 2)
            wait_until_heard(heard, {1, 2})


def test_only_a_jobs_id_crosses_the_queue_as_json(data: Path) -> None:
    chosen = broker.choose()
    with started(chosen):
        ring(chosen.url, 42)
        [message] = redis.Redis(unix_socket_path=str(socket_of(chosen))).lrange("jobs", 0, -1)
    assert b'"content-type": "application/json"' in message
    assert b'"argsrepr": "[42]"' in message


def test_bells_for_jobs_that_wait_long_do_not_fill_the_broker(data: Path) -> None:
    chosen = broker.choose()
    program = "from db.queue import ring_again; ring_again([]); ring_again(range(1, 91)); ring_again(range(1, 91))"
    with started(chosen):
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "STUDIO_REDIS_URL": chosen.url}, check=True, timeout=60
        )
        assert redis.Redis(unix_socket_path=str(socket_of(chosen))).llen("jobs") == MOST_WAITING


def test_ringing_again_while_the_broker_is_down_is_a_warning(data: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from db.queue import ring_again; ring_again([7])"],
        env={**os.environ, "STUDIO_REDIS_URL": broker.choose().url},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "queued jobs wait (1), but the broker does not answer" in done.stderr


def test_ringing_for_a_job_while_the_broker_is_down_is_a_warning_and_soon_over(data: Path) -> None:
    start = time.monotonic()
    said = ring(broker.choose().url, 7)
    assert "job 7 is queued, but the broker does not answer" in said
    assert time.monotonic() - start < 15


def test_without_a_broker_the_queue_says_what_to_do(data: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        ring("", 7)
    assert "STUDIO_REDIS_URL is not set" in failed.value.stderr


def test_importing_the_queue_reads_no_settings(data: Path) -> None:
    program = "import db.queue, db.settings; print(db.settings.settings.cache_info().misses)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "0\n"
