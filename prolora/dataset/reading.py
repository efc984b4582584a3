"""Read a whole file: every row is kept or rejected, and none is lost in between."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import orjson

from prolora.dataset.batch import Batch, Choices, Reader, batched
from prolora.dataset.container import Container
from prolora.dataset.forms import Mapping, guess
from prolora.dataset.json_files import JsonLines
from prolora.dataset.parallel import in_order, processes
from prolora.dataset.records import Reject, Row
from prolora.dataset.source import MisreadError, confirm, open_early, open_file
from prolora.dataset.stored import Index, StoredRows, index_of
from prolora.dataset.tally import Report, Sink, Tally
from prolora.errors import DatasetError

PEEKED = 1_000  # rows from which the fields are guessed before all rows have been seen
LARGE = 32 << 20  # bytes of a file that several processes read
UNKNOWN = "No field of {} has a known name. Say which field is the question and which the answer."

Watch = Callable[[float, int], None]  # told the share of the file and the rows read so far; may raise to stop
Sinks = Callable[[], AbstractContextManager[Sink]]  # empty ones each time


@dataclass(frozen=True)
class Whole:
    """A small file, held whole: its report, with every row and every reject."""

    report: Report
    rows: tuple[Row, ...]
    rejects: tuple[Reject, ...]
    originals: bytes  # the rejects as they stand in the file, as a file of its kind


@dataclass(frozen=True)
class Folder:
    """The files that a dataset is."""

    path: Path

    @property
    def rows(self) -> Path:
        return self.path / "rows.jsonl"

    @property
    def rejects(self) -> Path:
        """A line for each row that was left out: its place, and the reason."""
        return self.path / "rejects.jsonl"

    @property
    def originals(self) -> Path:
        """The rows that were left out as they stand in the file, to be mended and read again."""
        return self.path / "rejects-original"

    @contextmanager
    def sink(self) -> Iterator[Sink]:
        with ExitStack() as files:
            paths = (self.rows, self.rejects, self.originals)
            rows, rejects, originals = (files.enter_context(path.open("wb")) for path in paths)
            yield Sink(rows, rejects, originals, self.rows)


def ignore(_share: float, _rows: int) -> None:
    """Nobody watches."""


def store(path: Path, folder: Folder, choices: Choices, watch: Watch = ignore) -> Report:
    """Read a file of any size into a folder, in bounded memory."""
    report, index = _read(path, choices, folder.sink, watch)
    np.save(index_of(folder.rows), index)
    return report


def check(path: Path, choices: Choices, folder: Folder) -> Report:
    """Only the report and the rejects, as `store` writes them."""

    @contextmanager
    def sink() -> Iterator[Sink]:
        with ExitStack() as files:
            paths = (Path(os.devnull), folder.rejects, folder.originals)
            rows, rejects, originals = (files.enter_context(path.open("wb")) for path in paths)
            yield Sink(rows, rejects, originals, paths[0])

    return known(_read(path, choices, sink, ignore)[0], path)


def read(path: Path, choices: Choices | None = None) -> Whole:
    """A file that fits in memory, with its rows."""
    rows, rejects, originals = BytesIO(), BytesIO(), BytesIO()

    @contextmanager
    def sink() -> Iterator[Sink]:
        for file in (rows, rejects, originals):
            file.seek(0)
            file.truncate()
        yield Sink(rows, rejects, originals)

    report, index = _read(path, choices or Choices(), sink, ignore)
    told = tuple(Reject(**orjson.loads(line)) for line in rejects.getvalue().split(b"\n")[:-1])
    return Whole(known(report, path), tuple(StoredRows(rows.getvalue(), index)), told, originals.getvalue())


def known(report: Report, path: Path) -> Report:
    """The report, if it is known what the fields mean."""
    if report.mapping is None:
        raise DatasetError(UNKNOWN.format(path.name))
    return report


def _read(path: Path, choices: Choices, sinks: Sinks, watch: Watch) -> tuple[Report, Index]:
    """By the fields of the first rows; and once more, if all rows together tell another story."""
    try:
        return _understood(partial(open_early, path, choices.encoding), choices, sinks, watch)
    except MisreadError:
        return _understood(partial(open_file, path), choices, sinks, watch)


def _understood(opened: Callable[[], Container], choices: Choices, sinks: Sinks, watch: Watch) -> tuple[Report, Index]:
    container = opened()
    mapping = choices.mapping or _guessed(container)
    report, index = _pass(container, mapping, choices, sinks, watch)
    if not report.read:
        raise DatasetError(f"{container.path.name} holds an empty list or table. Choose a file with at least one row.")
    if not report.columns:
        raise DatasetError("The rows of this file are not objects with named fields. Write each as an object.")
    if choices.mapping is None and (better := guess(report.columns)) != mapping:
        return _pass(opened(), better, choices, sinks, watch)
    return report, index


def _guessed(container: Container) -> Mapping | None:
    return guess(Reader(None, frozenset(), "line").batch(islice(container.rows(), PEEKED)).columns)


def _pass(
    container: Container, mapping: Mapping | None, choices: Choices, sinks: Sinks, watch: Watch
) -> tuple[Report, Index]:
    with sinks() as sink:
        tally = Tally(container, sink)
        with closing(_batches(container, Reader(mapping, choices.repairs, container.unit), sink.path)) as batches:
            for batch in batches:
                if not batch.is_text and isinstance(container, JsonLines):
                    confirm(container.source)
                tally.add(batch)
                watch(container.progress, tally.read)
        return tally.finish(mapping)


def _batches(container: Container, reader: Reader, path: Path | None) -> Generator[Batch]:
    if not isinstance(container, JsonLines):
        yield from map(reader.batch, batched(container.rows()))
    elif path is None or container.path.stat().st_size < LARGE or processes() == 1:
        yield from map(reader.block, container.blocks())
    else:
        yield from in_order(reader.apart, container.pieces(), path, processes())
