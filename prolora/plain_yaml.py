"""YAML of plain values from strangers: read without aliases, tags or merges, and checked against what belongs where."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prolora.errors import StudioError

LONGEST = 400  # characters of a text in it
LARGEST_NUMBER = 2**53  # which every reader of numbers keeps exactly
DECIMAL = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")  # 1e-4, which YAML 1.1 takes for a text
WORDS: dict[type, str] = {int: "a whole number", bool: "true or false", str: "a text"}
Must = Mapping[str, set[str]]  # the fields that may not be missing, by the place of what has them


class PlainError(StudioError):
    """A document that cannot be read, or holds what does not belong there."""


@dataclass(frozen=True)
class Of:
    """Any number of fields with names of one kind and values of another."""

    name: type
    value: type


def dump(data: Mapping[str, Any]) -> str:
    import yaml  # needed by few who use this package

    return str(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=120))


def load(text: str) -> Any:
    """Raises PlainError; a name that stands twice, and one part that refers to another, are refused."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml is not checked
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):  # a few lines of which fill any memory
                raise PlainError("A part of this file refers to another. Write it out, or export the file again.")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            name, times = Counter(str(key.value) for key, _ in node.value).most_common(1)[0] if node.value else ("", 1)
            if times > 1:
                raise PlainError(f"The field `{name[:80]}` stands twice. Take one of them out.")
            return super().construct_mapping(node, deep)

        def flatten_mapping(self, node: Any) -> None:
            """`<<` is then a name like any other."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", DECIMAL, list("-+0123456789"))
    try:
        return yaml.load(text, Loader)  # noqa: S506  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise PlainError(f"This file cannot be read as YAML{where}. Mend it, or export it again.") from error


def checked(value: Any, kind: Any, must: Must, where: str = "") -> Any:
    """The value, if it is of its kind; raises PlainError with its place.

    A kind is a class for a value, a dict for named fields, a list for a list, and Of for free names.
    """
    if isinstance(kind, dict):
        return _fields(_mapping(value, where), kind, must, where)
    if isinstance(kind, Of):
        found = _mapping(value, where)
        return {_plain(n, kind.name, where): _plain(v, kind.value, f"{where}{n}.") for n, v in found.items()}
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise _wrong(value, "a list", where)
        return [checked(each, kind[0], must, where) for each in value]
    return _plain(value, kind, where)


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, "fields with names", where)
    return value


def _fields(value: dict[Any, Any], kinds: dict[str, Any], must: Must, where: str) -> dict[str, Any]:
    if unknown := [str(name)[:80] for name in value if name not in kinds]:
        raise PlainError(
            f"The field `{where}{unknown[0]}` is not known here. Take it out, or bring this studio up to date."
        )
    if missing := sorted(must.get(where, set()) - value.keys()):
        raise PlainError(f"The field `{where}{missing[0]}` is missing. Add it, or export the file again.")
    return {name: checked(each, kinds[name], must, f"{where}{name}.") for name, each in value.items()}


def _plain(value: Any, kind: type, where: str) -> Any:
    if kind is float:
        return _number(value, where)
    if type(value) is not kind:  # True is an int too
        raise _wrong(value, WORDS[kind], where)
    if isinstance(value, str) and (len(value) > LONGEST or not _storable(value)):
        raise _wrong("this one", f"a plain text of at most {LONGEST} characters", where)
    if isinstance(value, int) and abs(value) >= LARGEST_NUMBER:
        raise _wrong("one that large", "a smaller number", where)
    return value


def _number(value: Any, where: str) -> float:
    if type(value) not in (int, float):
        raise _wrong(value, "a number", where)
    return float(_plain(value, int, where) if isinstance(value, int) else value)


def _storable(text: str) -> bool:
    """Databases take neither NUL nor half a character."""
    return "\x00" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def _wrong(value: Any, wanted: str, where: str) -> PlainError:
    said = value if isinstance(value, str) else repr(value)
    return PlainError(f"`{where.rstrip('.') or 'This file'}` must be {wanted}, not {said[:80]}. Export the file again.")
