"""Arrow's values as those of JSON: nothing is read as what it does not say it is."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from prolora.dataset.element import Problem, text_of

Convert = Callable[[Any], Any]


class Cells:
    """Turns the rows of a batch into objects."""

    def __init__(self, schema: Any) -> None:
        self.twice: list[str] = []  # keys that a map of the row at hand has twice
        self.columns = [(field.name, self._convert(field.type)) for field in schema]

    def rows(self, batch: Any, target: Any) -> Iterator[tuple[dict[str, Any], Problem | None]]:
        columns = [_plain(column, field.type) for column, field in zip(batch.columns, target, strict=True)]
        for number in range(batch.num_rows):
            self.twice.clear()
            row = {
                name: convert(column[number].as_py())
                for (name, convert), column in zip(self.columns, columns, strict=True)
            }
            yield row, self._problem()

    def _problem(self) -> Problem | None:
        if not self.twice:
            return None
        return "repeated-field", f"names the field “{self.twice[0][:40]}” twice. Keep one of them"

    def _convert(self, kind: Any) -> Convert:
        """For values of what `kind` is stored as, by `stored_as`."""
        from pyarrow import BaseExtensionType, types

        if isinstance(kind, BaseExtensionType):
            return self._convert(kind.storage_type)
        if types.is_dictionary(kind):
            return self._convert(kind.value_type)
        if _is_text(kind):
            return lambda value: None if value is None else text_of(value)
        if types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind):
            return lambda value: value
        if types.is_floating(kind):
            return lambda value: value if value is None or math.isfinite(value) else _named("float", str(value))
        if types.is_map(kind):
            return self._map(kind)
        if _is_list(kind):
            inner = self._convert(kind.value_type)
            return lambda value: None if value is None else [inner(each) for each in value]
        if types.is_struct(kind):
            fields = [(field.name, self._convert(field.type)) for field in kind]
            return lambda value: None if value is None else {name: convert(value[name]) for name, convert in fields}
        return lambda value: None if value is None else _named(str(kind), str(value))

    def _map(self, kind: Any) -> Convert:
        key, item = self._convert(kind.key_type), self._convert(kind.item_type)

        def convert(pairs: list[tuple[Any, Any]] | None) -> Any:
            if pairs is None:
                return None
            found = [(key(name), item(value)) for name, value in pairs]
            if not all(isinstance(name, str) for name, _ in found):
                return [list(pair) for pair in found]
            if twice := _twice([name for name, _ in found]):
                self.twice.append(twice)
            return dict(found)

        return convert


def _named(kind: str, value: str) -> dict[str, str]:
    """A date, or whatever else JSON has no word for: nobody knows how the person wrote it."""
    return {kind: value}


def _plain(column: Any, target: Any) -> Any:
    """The column as it is stored; what is named by numbers is looked up."""
    from pyarrow import BaseExtensionType, types

    if isinstance(column.type, BaseExtensionType):
        column = column.storage
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(target)


def stored_as(kind: Any) -> Any:
    """The type as which values are asked for: texts as bytes, dates and decimals as texts."""
    import pyarrow as pa
    from pyarrow import types

    if isinstance(kind, pa.BaseExtensionType):
        return stored_as(kind.storage_type)
    if types.is_dictionary(kind):
        return stored_as(kind.value_type)
    if types.is_large_string(kind) or types.is_large_binary(kind):
        return pa.large_binary()
    if _is_text(kind):
        return kind if types.is_binary(kind) or types.is_fixed_size_binary(kind) else pa.binary()
    if types.is_duration(kind):
        return pa.int64()
    if types.is_temporal(kind) or types.is_decimal(kind):
        return pa.string()
    if types.is_map(kind):
        return pa.map_(stored_as(kind.key_type), stored_as(kind.item_type))
    if _is_list(kind):
        return (pa.large_list if types.is_large_list(kind) or types.is_large_list_view(kind) else pa.list_)(
            stored_as(kind.value_type)
        )
    if types.is_struct(kind):
        return pa.struct([(field.name, stored_as(field.type)) for field in kind])
    return kind


def _is_text(kind: Any) -> bool:
    """Text, or bytes that may be it."""
    from pyarrow import types

    texts = (types.is_string, types.is_large_string, types.is_string_view)
    data = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return any(test(kind) for test in (*texts, *data))


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(test(kind) for test in (*lists, types.is_list_view, types.is_large_list_view))


def repeated_name(fields: Any) -> str:
    """Of columns side by side at any depth."""
    from pyarrow import types

    if twice := _twice([field.name for field in fields]):
        return twice
    for field in fields:
        inner = field.type
        while _is_list(inner):
            inner = inner.value_type
        if types.is_struct(inner) and (twice := repeated_name(inner)):
            return twice
    return ""


def _twice(names: list[str]) -> str:
    return next((name for name in names if names.count(name) > 1), "") if len(set(names)) < len(names) else ""
