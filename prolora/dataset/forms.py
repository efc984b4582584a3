"""The forms an instruction row can have, and how each becomes a conversation."""

import difflib
import json
from collections.abc import Callable, Iterator
from collections.abc import Mapping as Columns
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

from prolora.chat import Message
from prolora.dataset.element import printable
from prolora.errors import DatasetError

Form = Literal["alpaca", "messages", "sharegpt", "prompt-completion"]
ROLES = ("system", "user", "assistant")
# Other names that files use for a role, as published datasets and tools write them.
SPELLINGS = {"human": "user", "developer": "system"} | dict.fromkeys(
    ("gpt", "chatgpt", "bing", "bard", "model"), "assistant"
)

# Each form's own fields, and the names that files are known to use for them, likeliest first.
ANSWERS = ("output", "response", "answer", "completion", "target", "solution")
KNOWN: dict[Form, dict[str, tuple[str, ...]]] = {
    "messages": {"messages": ("messages", "turns")},
    "sharegpt": {"conversations": ("conversations", "conversation"), "system": ("system",)},
    "alpaca": {
        "instruction": ("instruction", "question", "query", "problem"),
        "input": ("input",),
        "output": ANSWERS,
        "system": ("system",),
        "history": ("history",),
    },
    "prompt-completion": {"prompt": ("prompt",), "completion": ("completion", "response", "output", "answer")},
}
OPTIONAL = ("input", "system", "history")


# Code -> what the repair does to a row. None is made unless it is asked for.
REPAIRS = {
    "white-space": "White space around a content is left off.",
}


class BadRow(Exception):  # noqa: N818
    """Why a row is left out: a code, the sentence without its “Line 48”, and the field of the file if it is one's.

    `repair` is the code of the repair that would rescue the row, if there is one.
    """

    def __init__(self, code: str, what: str, field: str = "", repair: str = "") -> None:
        super().__init__(what)
        self.code, self.field, self.repair = code, field, repair


@dataclass(frozen=True, slots=True)
class Reading:
    """A sound row: what it says, the repairs that were made, and those that could be made."""

    messages: tuple[Message, ...]
    repaired: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mapping:
    """Which of the file's fields plays which part; an optional part may be empty."""

    form: Form
    fields: dict[str, str]

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise DatasetError(f"There is no form called “{self.form}”. Choose {', '.join(get_args(Form))}.")
        parts = KNOWN[self.form]
        if unknown := set(self.fields) - set(parts):
            raise DatasetError(f"The form {self.form} has no part called {', '.join(sorted(unknown))}.")
        for part in parts:
            if part not in OPTIONAL and not self.fields.get(part):
                raise DatasetError(f"Say which field of the file is the {part}.")
        used = [name for name in self.fields.values() if name]
        if len(used) > len(set(used)):
            raise DatasetError("One field of the file cannot play two parts. Choose another for one of them.")


def guess(columns: Columns[str, int]) -> Mapping | None:
    """The form that most rows can have, by the names of their fields; None when no form fits."""
    best: tuple[int, Mapping] | None = None
    for form, parts in KNOWN.items():
        fields = {part: _named(names, columns) for part, names in parts.items()}
        needed = [name for part, name in fields.items() if part not in OPTIONAL]
        rows = min((columns.get(name, 0) for name in needed), default=0)
        if rows and (best is None or rows > best[0]):
            best = rows, Mapping(form, fields)
    return best[1] if best else None


def _named(names: tuple[str, ...], columns: Columns[str, int]) -> str:
    """The commonest of a file's fields that bears a known name; of equals the likeliest."""
    found = [column for name in names for column in columns if column.casefold() == name]
    return max(found, key=columns.__getitem__, default="")


def named(value: Any) -> dict[str, Any] | None:
    """A row as named fields, also where it is only its list of turns or only its text; None when it is neither."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {"turns": value}
    return {"text": value} if isinstance(value, str) else None


def conversation(row: dict[str, Any], mapping: Mapping, repairs: frozenset[str] = frozenset()) -> Reading:
    """The row as messages, mended by these repairs where it needs them, or BadRow."""
    messages = _READERS[mapping.form](row, mapping.fields)
    if all(message["content"].strip() == message["content"] for message in messages):
        return Reading(messages)
    if "white-space" not in repairs:
        return Reading(messages, offered=("white-space",))
    stripped: tuple[Message, ...] = tuple({**message, "content": message["content"].strip()} for message in messages)
    return Reading(stripped, repaired=("white-space",))


def _alpaca(row: dict[str, Any], fields: dict[str, str]) -> tuple[Message, ...]:
    asked = _text(row, fields["instruction"], "instruction")
    more = _optional(row, fields, "input")
    answer = _text(row, fields["output"], "answer")
    user = f"{asked}\n{more}" if more else asked
    last: tuple[Message, ...] = ({"role": "user", "content": user}, {"role": "assistant", "content": answer})
    return (*_system(row, fields), *_history(row, fields), *last)


def _system(row: dict[str, Any], fields: dict[str, str]) -> tuple[Message, ...]:
    words = _optional(row, fields, "system")
    return ({"role": "system", "content": words},) if words.strip() else ()


def _history(row: dict[str, Any], fields: dict[str, str]) -> Iterator[Message]:
    """Earlier questions with their answers, as pairs."""
    pairs = row.get(fields.get("history", "")) or []
    if isinstance(pairs, str):
        pairs = _parsed(pairs, fields["history"])
    for number, pair in enumerate(pairs if isinstance(pairs, list) else [None], start=1):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, str) and t.strip() for t in pair)):
            raise BadRow("history", f"has a history whose entry {number} is no pair of question and answer. Mend it")
        yield {"role": "user", "content": _sound(pair[0])}
        yield {"role": "assistant", "content": _sound(pair[1])}


def _optional(row: dict[str, Any], fields: dict[str, str], part: str) -> str:
    return _string(row, fields.get(part, ""))


def _prompt(row: dict[str, Any], fields: dict[str, str]) -> tuple[Message, ...]:
    asked, answer = _text(row, fields["prompt"], "prompt"), _text(row, fields["completion"], "answer")
    return ({"role": "user", "content": asked}, {"role": "assistant", "content": answer})


def _messages(row: dict[str, Any], fields: dict[str, str]) -> tuple[Message, ...]:
    field = fields.get("messages") or fields["conversations"]
    turns = row.get(field)
    if isinstance(turns, str) and turns.strip():
        turns = _parsed(turns, field)
    if turns is None or turns in ([], ""):
        raise BadRow("no-messages", f"has no turns. Add {_a(field)} list", field)
    if not isinstance(turns, list):
        raise BadRow("not-a-list", f"has {_kind(turns)} as its {field}. Write a list of turns", field)
    try:
        messages = tuple(_turn(turn, number) for number, turn in enumerate(turns, start=1))
        _check_order([message["role"] for message in messages])
    except BadRow as error:
        error.field = field
        raise
    return messages


def _sharegpt(row: dict[str, Any], fields: dict[str, str]) -> tuple[Message, ...]:
    messages, system = _messages(row, fields), _system(row, fields)
    if system and messages[0]["role"] == "system":
        raise BadRow("system-twice", f"has a {fields['system']} and a system turn. Keep one of them")
    return (*system, *messages)


def _parsed(text: str, field: str) -> Any:
    """A list that a table's cell, or a careless export, holds as JSON text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRow("not-a-list", f"has text as its {field} that is no JSON list. Write a list", field) from error


_READERS: dict[Form, Callable[[dict[str, Any], dict[str, str]], tuple[Message, ...]]] = {
    "alpaca": _alpaca,
    "messages": _messages,
    "sharegpt": _sharegpt,
    "prompt-completion": _prompt,
}


def _turn(turn: Any, number: int) -> Message:
    if not isinstance(turn, dict):
        raise BadRow("not-an-object", f"has {_kind(turn)} as turn {number}. Write an object with role and content")
    role, content = turn.get("role", turn.get("from")), _joined(turn.get("content", turn.get("value")), number)
    role = SPELLINGS.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        raise BadRow("unknown-role", f"has a turn {number} whose role is {_shown(role)}. {_meant(role)}")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise BadRow("tool-call", f"calls a tool in turn {number}, which cannot be trained. Leave the call out")
    if turn.get("weight", 1) != 1:
        raise BadRow("weight", f"has a weight on turn {number}; every answer is trained alike. Leave the weight out")
    if content is not None and not isinstance(content, str):
        raise BadRow("not-text", f"has {_kind(content)} as the content of turn {number}. Write it as text")
    if not content or not content.strip():
        raise BadRow("empty-turn", f"has nothing to say in turn {number} ({role}). Add its content")
    return {"role": str(role), "content": _sound(content)}


def _joined(content: Any, number: int) -> Any:
    """Content in parts, as OpenAI writes it, is one text when all of them are text."""
    if not isinstance(content, list) or not content or not all(isinstance(part, dict) for part in content):
        return content
    texts = [part.get("text") if part.get("type") == "text" else None for part in content]
    if not all(isinstance(text, str) for text in texts):
        raise BadRow("not-text", f"has parts in turn {number} that are no text. Leave them out")
    return "".join(map(str, texts))


def _check_order(roles: list[str]) -> None:
    """An optional system turn, then user and assistant by turns, the assistant last."""
    spoken = roles[1:] if roles[0] == "system" else roles
    if "system" in spoken:
        raise BadRow("system-not-first", "has a system turn after the first turn. Move it to the beginning")
    if "assistant" not in spoken:
        raise BadRow("no-answer", "has no assistant turn. Add an answer")
    if spoken[0] != "user":
        raise BadRow("starts-with-assistant", "begins with the assistant. Begin with a user turn")
    for number, (one, two) in enumerate(pairwise(spoken), start=len(roles) - len(spoken) + 2):
        if one == two:
            raise BadRow("roles-order", f"has two {one} turns in a row (turn {number}). Join them")
    if spoken[-1] != "assistant":
        raise BadRow("ends-with-user", "ends with a user turn that nobody answers. Add an answer")


def _text(row: dict[str, Any], field: str, part: str) -> str:
    value = _string(row, field)
    if not value.strip():
        raise BadRow(f"no-{part}", f"has no {part}. Add {_a(field)}", field)
    return value


def _string(row: dict[str, Any], field: str) -> str:
    """The field's text; nothing where it is missing or null."""
    value = row.get(field)
    if value is not None and not isinstance(value, str):
        raise BadRow("not-text", f"has {_kind(value)} as its {field}. Write it as text", field)
    return _sound(value or "")


def _sound(text: str) -> str:
    """The text itself, unless some of it is no character: half a surrogate pair, or bytes that were not UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadRow("broken-character", "holds a broken character. Save the file as UTF-8 and mend it") from error
    return text


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = {int: "a number", float: "a number", list: "a list", dict: "an object", str: "text", type(None): "nothing"}
    return kinds.get(type(value), "something else")


def _shown(role: Any) -> str:
    return f"“{printable(role[:30])}”" if isinstance(role, str) else _kind(role)


def _meant(role: Any) -> str:
    close = (
        difflib.get_close_matches(role.strip().lower()[:30], ROLES, n=1, cutoff=0.6) if isinstance(role, str) else []
    )
    return f"Write {close[0]}" if close else f"Use {', '.join(ROLES[:-1])} or {ROLES[-1]}"
