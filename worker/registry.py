"""This worker's row, written by a thread of its own: at each change, and every few seconds."""

import socket
import threading
from contextlib import suppress
from dataclasses import replace

import structlog

from db import workers
from db.models import now
from db.outage import DatabaseAway, once
from db.settings import settings
from db.workers import Presence
from prolora.devices import cards, devices
from worker import record

TELL_EVERY = 5.0  # seconds, or as often as leases are renewed: who is silent for a lease's time is gone

log = structlog.get_logger()


def gpus() -> int:
    """How many devices a job may have of this worker; several on a machine without cards are several processes."""
    return settings().gpus or len(cards()) or 1


def presence(name: str) -> Presence:
    found = devices()
    memory = sum(device.memory_bytes for device in found)
    return Presence(name, socket.gethostname(), found[0].name, memory, gpus(), record.code())


class Registry:
    """What the worker does now, for its row."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._doing: tuple[str, int | None] = (workers.IDLE, None)
        self._changed, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_telling, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def show(self, state: str, job_id: int | None = None) -> None:
        self._doing = (state, job_id)
        self._changed.set()

    def end(self) -> None:
        """A database that is away just now is not waited for: silence tells the same."""
        self._ended.set()
        self._changed.set()
        self._thread.join(TELL_EVERY)
        with suppress(DatabaseAway):
            once(lambda s: workers.leave(s, self.name))

    def _keep_telling(self) -> None:
        facts = presence(self.name)
        with suppress(DatabaseAway):
            once(lambda s: workers.prune(s, now()))
        while not self._ended.is_set():
            self._changed.clear()
            state, job_id = self._doing
            self._tell(replace(facts, state=state, job_id=job_id))
            self._changed.wait(min(TELL_EVERY, settings().renew_seconds))

    def _tell(self, said: Presence) -> None:
        try:
            once(lambda s: workers.tell(s, said, now()))
        except DatabaseAway as error:
            log.warning("this worker's row waits", error=str(error))
