"""`python -m worker.alive`: was a worker of this machine heard of within a lease? A container's health check."""

import socket
import sys

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db import workers
from db.jobs import lease_time
from db.models import Worker, now
from db.session import session


def heard(s: Session, host: str) -> bool:
    """By the row that each worker writes every few seconds; one that has said goodbye is not alive."""
    lately = (Worker.seen_at > now() - lease_time(), Worker.state != workers.STOPPED)
    return bool(s.scalar(select(func.count()).where(Worker.host == host, *lately)))


def main() -> int:
    try:
        with session() as s:
            return 0 if heard(s, socket.gethostname()) else 1
    except SQLAlchemyError as error:
        sys.stderr.write(f"The database does not answer: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
