"""Instruction datasets: from a person's file to canonical rows, with every row accounted for."""

from prolora.dataset.batch import Choices
from prolora.dataset.forms import Form, Mapping, guess
from prolora.dataset.reading import Folder, Whole, check, read, store
from prolora.dataset.records import Reject, Row, held_out, split
from prolora.dataset.stored import StoredRows, read_rows, write_rows
from prolora.dataset.tally import Report

__all__ = [
    "Choices",
    "Folder",
    "Form",
    "Mapping",
    "Reject",
    "Report",
    "Row",
    "StoredRows",
    "Whole",
    "check",
    "guess",
    "held_out",
    "read",
    "read_rows",
    "split",
    "store",
    "write_rows",
]
