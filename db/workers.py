"""What workers say of themselves: each writes a row of its own."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from db.jobs import INSERT
from db.models import Worker

KEPT = timedelta(days=1)  # how long those that are gone are still told of
IDLE, BUSY, STOPPING, STOPPED = "idle", "busy", "stopping", "stopped"


@dataclass(frozen=True)
class Presence:
    """What a worker says of itself."""

    name: str  # as in the leases that it holds
    host: str
    device: str
    memory_bytes: int
    gpus: int
    version: str
    state: str = IDLE
    job_id: int | None = None


def tell(s: Session, presence: Presence, at: datetime) -> None:
    """Write a worker's row, or write it anew."""
    said: dict[str, Any] = {**asdict(presence), "seen_at": at}
    insert = INSERT[s.get_bind().dialect.name](Worker).values(started_at=at, **said)
    s.execute(insert.on_conflict_do_update(index_elements=[Worker.name], set_=said))


def leave(s: Session, name: str) -> None:
    """A good end; whoever is killed is told by its silence."""
    s.execute(update(Worker).where(Worker.name == name).values(state=STOPPED, job_id=None))


def prune(s: Session, at: datetime) -> None:
    s.execute(delete(Worker).where(Worker.seen_at < at - KEPT))
