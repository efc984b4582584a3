"""Shapes that were counted on the model itself, kept as JSON: for architectures whose config.json is not known here."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prolora.base_models.shapes import Linear, Shapes
from prolora.errors import BaseModelError


def write(architecture: str, shapes: Shapes, path: Path) -> None:
    path.write_text(json.dumps({"architecture": architecture, "shapes": asdict(shapes)}, indent=1) + "\n", "utf-8")


def read(path: Path) -> tuple[str, Shapes]:
    """The architecture and its shapes; raises when the file is not one of these."""
    try:
        found = json.loads(path.read_text("utf-8"))
        shapes = _shapes(found["shapes"])
        return str(found["architecture"]), shapes
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise BaseModelError(
            f"{path} does not hold the counted shapes of a model ({error!r}). Count them again with "
            "`python -m worker.shapes FOLDER`."
        ) from error


def _shapes(fields: dict[str, Any]) -> Shapes:
    shapes = Shapes(**{**fields, "linears": tuple(Linear(**each) for each in fields["linears"])})
    numbers = [shapes.layers, shapes.hidden, shapes.base_parameters, shapes.vocabulary, shapes.heads]
    for linear in shapes.linears:
        numbers += [linear.inputs, linear.outputs, shapes.times(linear)]
    if not all(type(number) is int and number > 0 for number in numbers):
        raise ValueError("a number that is not a whole one above 0")
    if not all(isinstance(words, str) for words in (shapes.note, *shapes.modules)):
        raise ValueError("a name or a note that is no text")
    if not shapes.linears or not shapes.countable:
        raise ValueError("no linear layers, or more than any model has")
    return shapes
