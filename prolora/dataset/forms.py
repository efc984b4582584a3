"""The forms a row can have, and how each becomes a conversation."""

from collections.abc import Callable, Iterator
from collections.abc import Mapping as Columns
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any, Literal, get_args

from prolora.chat import Message
from prolora.dataset.bad_row import BadRow, kind, sound, with_article
from prolora.dataset.element import Flaws
from prolora.dataset.repairs import REPAIRS, Reading, mended, stripped
from prolora.dataset.roles import meant, role_of
from prolora.dataset.turns import apart
from prolora.errors import DatasetError

__all__ = ["KNOWN", "OPTIONAL", "REPAIRS", "BadRow", "Form", "Mapping", "Reading", "conversation", "guess", "named"]

Form = Literal["alpaca", "messages", "sharegpt", "prompt-completion", "text"]

# Each form's own fields, and the names that files are known to use for them, likeliest first.
ANSWERS = ("output", "response", "answer", "completion", "target", "solution")
KNOWN: dict[Form, dict[str, tuple[str, ...]]] = {
    "messages": {"messages": ("messages", "turns")},
    "sharegpt": {"conversations": ("conversations", "conversation", "items"), "system": ("system",)},
    "alpaca": {
        "instruction": ("instruction", "question", "query", "problem"),
        "input": ("input",),
        "output": ANSWERS,
        "system": ("system",),
        "history": ("history",),
    },
    "prompt-completion": {"prompt": ("prompt",), "completion": ("completion", "response", "output", "answer")},
    "text": {"text": ("text", "content")},
}
OPTIONAL = ("input", "system", "history")
# Names that as many files use for something else: they count for half.
VAGUE = ("turns", "items", "text", "content")


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
    best: tuple[float, Mapping] | None = None
    for form, parts in KNOWN.items():
        fields = {part: _named(names, columns) for part, names in parts.items()}
        needed = [name for part, name in fields.items() if part not in OPTIONAL]
        rows: float = min((columns.get(name, 0) for name in needed), default=0)
        if any(name.casefold() in VAGUE for name in needed):
            rows /= 2
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
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {"turns": value}
    return {"text": value} if isinstance(value, str) else None


def conversation(row: dict[str, Any], mapping: Mapping, repairs: frozenset[str] = frozenset()) -> Reading:
    """The row as messages, mended by these repairs where it needs them, or BadRow."""
    try:
        return stripped(_READERS[mapping.form](row, mapping.fields, repairs), repairs)
    except BadRow as error:
        if error.repair and not _can_be_mended(row, mapping):
            error.repair = ""
        raise


def _can_be_mended(row: dict[str, Any], mapping: Mapping) -> bool:
    try:
        _READERS[mapping.form](row, mapping.fields, frozenset(REPAIRS))
    except BadRow:
        return False
    return True


def _messages(row: dict[str, Any], fields: dict[str, str], repairs: frozenset[str]) -> Reading:
    return _turns(row, fields["messages"], repairs)


def _sharegpt(row: dict[str, Any], fields: dict[str, str], repairs: frozenset[str]) -> Reading:
    reading, system = _turns(row, fields["conversations"], repairs), _system(row, fields)
    if system and reading.messages[0]["role"] == "system":
        raise BadRow("system-twice", f"has a {fields['system']} and a system turn. Keep one of them")
    return Reading((*system, *reading.messages), reading.repaired) if system else reading


def _turns(row: dict[str, Any], field: str, repairs: frozenset[str]) -> Reading:
    turns = row.get(field)
    if isinstance(turns, str) and turns.strip():
        turns = _parsed(turns, field)
    if turns is None or turns in ([], ""):
        raise BadRow("no-messages", f"has no turns. Add {with_article(field)} list", field)
    if not isinstance(turns, list):
        raise BadRow("not-a-list", f"has {kind(turns)} as its {field}. Write a list of turns", field)
    try:
        return mended(apart(turns), repairs)
    except BadRow as error:
        error.field = field
        raise


def _alpaca(row: dict[str, Any], fields: dict[str, str], _: frozenset[str]) -> Reading:
    asked = _text(row, fields["instruction"], "instruction")
    more = _string(row, fields.get("input", ""))
    answer = _text(row, fields["output"], "answer")
    user = f"{asked}\n{more}" if more else asked
    last: tuple[Message, ...] = ({"role": "user", "content": user}, {"role": "assistant", "content": answer})
    return Reading((*_system(row, fields), *_history(row, fields), *last))


def _system(row: dict[str, Any], fields: dict[str, str]) -> tuple[Message, ...]:
    words = _string(row, fields.get("system", ""))
    return ({"role": "system", "content": words},) if words.strip() else ()


def _history(row: dict[str, Any], fields: dict[str, str]) -> Iterator[Message]:
    """Earlier questions with their answers, as pairs."""
    field = fields.get("history", "")
    pairs = row.get(field) or []
    if isinstance(pairs, str):
        pairs = _parsed(pairs, field)
    for number, pair in enumerate(pairs if isinstance(pairs, list) else [None], start=1):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, str) and t.strip() for t in pair)):
            what = f"has a history whose entry {number} is no pair of question and answer. Mend it"
            raise BadRow("history", what, field)
        yield {"role": "user", "content": sound(pair[0])}
        yield {"role": "assistant", "content": sound(pair[1])}


def _prompt(row: dict[str, Any], fields: dict[str, str], repairs: frozenset[str]) -> Reading:
    """Two texts, or turns in place of one or both: only what completes the prompt is trained."""
    asked, answer = row.get(fields["prompt"]), row.get(fields["completion"])
    if not asked or not isinstance(asked, list):
        asked = [{"role": "user", "content": _text(row, fields["prompt"], "prompt")}]
    if not answer or not isinstance(answer, list):
        answer = [{"role": "assistant", "content": _text(row, fields["completion"], "answer")}]
    return mended([*map(_untrained, asked), *answer], repairs)


def _untrained(turn: Any) -> Any:
    answers = isinstance(turn, dict) and meant(role_of(turn)) == "assistant"
    return {**turn, "weight": 0} if answers and turn.get("weight") in (None, 1) else turn


def _plain(row: dict[str, Any], fields: dict[str, str], _: frozenset[str]) -> Reading:
    return Reading(({"role": "text", "content": _text(row, fields["text"], "text")},))


_READERS: dict[Form, Callable[[dict[str, Any], dict[str, str], frozenset[str]], Reading]] = {
    "alpaca": _alpaca,
    "messages": _messages,
    "sharegpt": _sharegpt,
    "prompt-completion": _prompt,
    "text": _plain,
}


def _parsed(text: str, field: str) -> Any:
    """What a table's cell, or a careless export, holds as JSON text: as sound as a file must be."""
    text = text.strip()
    try:
        value, end, problem = Flaws().decode(text, 0)
    except JSONDecodeError as error:
        raise BadRow("not-a-list", f"has text as its {field} that is no JSON list. Write a list", field) from error
    except RecursionError as error:
        raise BadRow("not-json", f"has {with_article(field)} that is nested too deeply. Flatten it", field) from error
    if problem:
        raise BadRow(*problem, field)
    if end < len(text):
        raise BadRow("not-json", f"has {with_article(field)} that goes on after its JSON ends. Cut it", field)
    return value


def _text(row: dict[str, Any], field: str, part: str) -> str:
    value = _string(row, field)
    if not value.strip():
        raise BadRow(f"no-{part}", f"has no {part}. Add {with_article(field)}", field)
    return value


def _string(row: dict[str, Any], field: str) -> str:
    """The field's text; nothing where it is missing or null."""
    value = row.get(field)
    if value is not None and not isinstance(value, str):
        raise BadRow("not-text", f"has {kind(value)} as its {field}. Write it as text", field)
    return sound(value or "")
