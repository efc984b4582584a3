"""A list of turns, as OpenAI, ShareGPT and their kin write it, read as messages."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from prolora.chat import Message
from prolora.dataset.bad_row import BadRow, kind, shown, sound
from prolora.dataset.roles import ROLES, SPELLINGS, advice, is_missing, is_tool, meant, role_of


def read_turns(turns: Sequence[Any]) -> tuple[Message, ...]:
    """The turns as they stand, or BadRow."""
    messages = every_turn(turns)
    _check_order([message["role"] for message in messages])
    _check_trained(messages)
    return messages


def apart(turns: Sequence[Any]) -> Sequence[Any]:
    """Pairs, `{"human": ..., "assistant": ...}`, as the two turns that they are."""
    if not (turns and _is_pair(turns[0])):
        return turns
    return [half for turn in turns for half in (_halves(turn) if _is_pair(turn) else [turn])]


def _is_pair(turn: Any) -> bool:
    return isinstance(turn, dict) and "human" in turn and role_of(turn) is None


def _halves(pair: dict[str, Any]) -> list[Any]:
    return [{"role": role, "content": pair.get(role)} for role in ("human", "assistant")]


def every_turn(turns: Sequence[Any]) -> tuple[Message, ...]:
    return tuple([_turn(turn, number) for number, turn in enumerate(turns, start=1)])


def _turn(turn: Any, number: int) -> Message:
    if not isinstance(turn, dict):
        raise BadRow("not-an-object", f"has {kind(turn)} as turn {number}. Write an object with role and content")
    role = role_of(turn)
    role = SPELLINGS.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        raise _unknown(role, number)
    if turn.get("tool_calls") or turn.get("function_call"):
        raise BadRow("tool-call", f"calls a tool in turn {number}, which cannot be trained. Leave the call out")
    message: Message = {"role": str(role), "content": _content(turn, number, str(role))}
    if turn.get("weight") is not None and _weight(turn["weight"], number, str(role)) == 0:
        message["weight"] = 0
    return message


def _unknown(role: Any, number: int) -> BadRow:
    if is_tool(role):
        return BadRow(
            "tool-turn", f"has a turn {number} by a tool ({shown(role)}), which cannot be trained. Leave it out"
        )
    repair = "role-typos" if meant(role) else ""
    if number == 1 and is_missing(role):
        repair = "missing-system-role"
    what = f"has a turn {number} whose role is {shown(role)}. {advice(role)}"
    return BadRow("unknown-role", what, repair=repair)


def _content(turn: dict[str, Any], number: int, role: str) -> str:
    content = turn.get("content")
    if content is None:
        content = turn.get("value")
    if isinstance(content, list):
        content = _joined(content, number)
    if content is not None and not isinstance(content, str):
        raise BadRow("not-text", f"has {kind(content)} as the content of turn {number}. Write it as text")
    if not content or not content.strip():
        raise BadRow("empty-turn", f"has nothing to say in turn {number} ({role}). Add its content")
    return sound(content)


def _joined(parts: list[Any], number: int) -> Any:
    """Content in parts, as OpenAI writes it, is one text when all of them are text."""
    if not parts or not all(isinstance(part, dict) for part in parts):
        return parts
    texts = [part.get("text") if part.get("type") == "text" else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise BadRow("not-text", f"has parts in turn {number} that are no text. Leave them out")
    return "".join(map(str, texts))


def _weight(weight: Any, number: int, role: str) -> int:
    """0 or 1 as OpenAI means it: is this answer trained?"""
    if isinstance(weight, bool) or weight not in (0, 1):
        raise BadRow("weight", f"has a weight on turn {number} that is neither 0 nor 1. Leave the weight out")
    if role != "assistant" and weight == 0:
        raise BadRow("weight", f"has a weight on turn {number}, but only answers are trained. Leave the weight out")
    return int(weight)


def _check_order(roles: list[str]) -> None:
    """An optional system turn, then user and assistant by turns, the assistant last."""
    spoken = roles[1:] if roles[0] == "system" else roles
    if "system" in spoken:
        repair = "joined-turns" if roles[:2] == ["system", "system"] else ""
        what = "has a system turn after the first turn. Move it to the beginning"
        raise BadRow("system-not-first", what, repair=repair)
    if "assistant" not in spoken:
        raise BadRow("no-answer", "has no assistant turn. Add an answer")
    if spoken[0] != "user":
        raise BadRow("starts-with-assistant", "begins with the assistant. Begin with a user turn")
    for number, (one, two) in enumerate(pairwise(spoken), start=len(roles) - len(spoken) + 2):
        if one == two:
            what = f"has two {one} turns in a row (turn {number}). Join them"
            raise BadRow("roles-order", what, repair="joined-turns")
    if spoken[-1] != "assistant":
        what = "ends with a user turn that nobody answers. Add an answer"
        raise BadRow("ends-with-user", what, repair="unanswered-turn")


def _check_trained(messages: Sequence[Message]) -> None:
    if not any(message["role"] == "assistant" and "weight" not in message for message in reversed(messages)):
        what = "has only answers of weight 0, so that nothing of it is trained. Give one of them weight 1"
        raise BadRow("nothing-trained", what)
