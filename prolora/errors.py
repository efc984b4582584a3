"""Errors worded for the person who reads them; the edges show them as they are."""


class StudioError(Exception):
    """Something a person can mend; its text says what, where and what to do."""


class PlanError(StudioError, ValueError):
    """A setting, a budget or a training choice that cannot be."""


class DatasetError(StudioError):
    """A file that cannot be read as an instruction dataset at all."""


class BaseModelError(StudioError):
    """A base model that is not there or is not one the studio can train."""
