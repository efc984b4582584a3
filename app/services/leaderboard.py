"""Every finished run with its scores."""

from db import scores
from db.models import OWNER
from db.scores import Entry
from db.session import session

__all__ = ["Entry", "entries"]


def entries() -> list[Entry]:
    with session() as s:
        return scores.leaderboard(s, OWNER)
