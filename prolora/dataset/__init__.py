"""Instruction datasets: from a person's file to canonical rows, with every row accounted for."""

from prolora.dataset.forms import Form, Mapping, guess
from prolora.dataset.reading import Look, Report, look, read
from prolora.dataset.records import Reject, Row, held_out, read_rows, split, write_rows

__all__ = [
    "Form",
    "Look",
    "Mapping",
    "Reject",
    "Report",
    "Row",
    "guess",
    "held_out",
    "look",
    "read",
    "read_rows",
    "split",
    "write_rows",
]
