"""Repairs that are safe to make in a row. None is made unless it is asked for, and each one made is listed."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from prolora.chat import Message
from prolora.dataset.bad_row import BadRow
from prolora.dataset.roles import ROLES, SPELLINGS, is_missing, meant, role_of
from prolora.dataset.turns import every_turn, read_turns

# Code -> what the repair does, in the order in which a row may need them.
REPAIRS = {
    "missing-system-role": "A first turn without a role in front of a user turn becomes the system turn.",
    "role-typos": "A role with a known typo, such as “assitant” or “User”, is read as the role that is meant.",
    "joined-turns": "Turns of one role in a row become one turn, with a blank line between their contents.",
    "unanswered-turn": "A last user turn that nobody answers is left off.",
    "white-space": "White space around a content is left off. Inside, it stays as it is.",
}


class Reading(NamedTuple):
    """A sound row: what it says, the repairs that were made, and those that could be made."""

    messages: tuple[Message, ...]
    repaired: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()


def mended(turns: Sequence[Any], repairs: frozenset[str]) -> Reading:
    """The turns as messages, mended where they need it and it was asked for, or BadRow."""
    made: tuple[str, ...] = ()
    while True:
        try:
            return Reading(read_turns(turns), made)
        except BadRow as error:
            if error.repair not in repairs or error.repair in made:
                raise
            turns = _MENDS[error.repair](turns)
            made = (*made, error.repair)


def stripped(reading: Reading, repairs: frozenset[str]) -> Reading:
    """The reading without white space around its contents, where that was asked for; else with the offer."""
    for message in reading.messages:
        if message["content"].strip() != message["content"]:
            break
    else:
        return reading
    if "white-space" not in repairs:
        return Reading(reading.messages, reading.repaired, offered=("white-space",))
    messages: list[Message] = [{**message, "content": message["content"].strip()} for message in reading.messages]
    return Reading(tuple(messages), (*reading.repaired, "white-space"))


def _name_system(turns: Sequence[Any]) -> Sequence[Any]:
    first, *rest = turns
    before_user = rest and isinstance(rest[0], dict) and meant(role_of(rest[0])) == "user"
    return [{**first, "role": "system"}, *rest] if is_missing(role_of(first)) and before_user else turns


def _spell_roles(turns: Sequence[Any]) -> Sequence[Any]:
    return [_spelled(turn) for turn in turns]


def _spelled(turn: Any) -> Any:
    role = role_of(turn) if isinstance(turn, dict) else None
    known = role in ROLES or (isinstance(role, str) and role in SPELLINGS)
    return {**turn, "role": meant(role)} if not known and meant(role) else turn


def _join(turns: Sequence[Any]) -> Sequence[Any]:
    """An answer that is trained is not joined to one that is not."""
    runs = groupby(every_turn(turns), key=lambda message: (message["role"], message.get("weight")))
    return [_one(list(run)) for _, run in runs]


def _one(run: list[Message]) -> Message:
    return {**run[0], "content": "\n\n".join(message["content"] for message in run)}


def _leave_off_last(turns: Sequence[Any]) -> Sequence[Any]:
    return turns[:-1]


_MENDS: dict[str, Callable[[Sequence[Any]], Sequence[Any]]] = {
    "missing-system-role": _name_system,
    "role-typos": _spell_roles,
    "joined-turns": _join,
    "unanswered-turn": _leave_off_last,
}
