"""Where errors become toasts: a page's handlers go through here."""

from collections.abc import Callable
from functools import wraps
from html import escape
from typing import ParamSpec, TypeVar

import gradio as gr

from prolora.errors import StudioError

P = ParamSpec("P")
T = TypeVar("T")


def told(handler: Callable[P, T]) -> Callable[P, T]:
    """Show what a person can mend as a toast, which is HTML; everything else stays a fault and reaches the log."""

    @wraps(handler)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return handler(*args, **kwargs)
        except StudioError as error:
            raise gr.Error(escape(str(error)), duration=10, print_exception=False) from error

    return wrapped


def wanted_id(request: gr.Request) -> int | None:
    """The ?id= of the page's address."""
    return wanted_number(request, "id")


def wanted_number(request: gr.Request, name: str) -> int | None:
    """A number that the page's address gives."""
    value = request.query_params.get(name, "")
    return int(value) if value.isdecimal() and len(value) < 12 else None
