"""Parquet, in batches of bounded size. Its texts stay texts, and what JSON lacks is named and not guessed."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import orjson

from prolora.dataset.archives import RATIO_FROM, RATIO_LIMIT, UNPACKED_LIMIT
from prolora.dataset.arrow_values import Cells, repeated_name, stored_as
from prolora.dataset.container import Frame, FromSource
from prolora.dataset.element import ROW_LIMIT, Element, Problem, enumerated, printable, too_long
from prolora.dataset.parquet_pages import Pages, measured
from prolora.dataset.stream import READ
from prolora.errors import DatasetError

MAGIC, ENCRYPTED = b"PAR1", b"PARE"
FOOTER_LIMIT = 8 << 20  # bytes
DEPTH_LIMIT = 64  # of columns inside columns
PAGE_LIMIT, VALUES_LIMIT = 256 << 20, 16 << 20  # bytes of a page of every column, values of one page
BATCH_ROWS, BATCH_BYTES, BATCH_VALUES = 1024, 128 << 20, 64 << 20  # at most, whatever the rows are
AGAIN = "Write it anew, or save it as JSONL."


class Parquet(FromSource):
    """A table with types. Every row is told in JSON."""

    kind, unit, frame = "Parquet", "row", Frame()
    _given, _declared, _bytes = 0, 0, 0  # rows told, rows promised, bytes of the rows told

    def rows(self) -> Iterator[Element]:
        self._given = self._bytes = 0
        with self._seekable() as file, self._sound():
            yield from self._rows(file, self._footer(file))

    @property
    def progress(self) -> float:
        return self._given / self._declared if self._declared else 0.0

    @contextmanager
    def _seekable(self) -> Iterator[BinaryIO]:
        """The file; out of an archive it is unpacked first, since Parquet is read from its end."""
        with self.source.open_bytes() as stream:
            if not self.source.packing.name:
                yield stream
                return
            with tempfile.TemporaryFile() as whole:
                shutil.copyfileobj(stream, whole, READ)
                yield whole

    @contextmanager
    def _sound(self) -> Iterator[None]:
        try:
            from pyarrow import ArrowException
        except ImportError as error:
            needs = "is a Parquet file, which pyarrow reads. Install it: pip install 'prolora[parquet]'"
            raise DatasetError(f"{self.source.name} {needs}.") from error
        try:
            yield
        except (ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
            raise self._broken(f"is damaged ({printable(str(error))[:80]})") from error

    def _broken(self, what: str) -> DatasetError:
        return DatasetError(f"{self.source.name} {what}. {AGAIN}")

    def _footer(self, file: BinaryIO) -> bytes:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        ending = file.read(8)
        if ending.endswith(ENCRYPTED):
            raise self._broken("is encrypted")
        if size < 12 or not ending.endswith(MAGIC):
            raise self._broken("is cut off: a Parquet file ends with PAR1")
        length = int.from_bytes(ending[:4], "little")
        if length > min(FOOTER_LIMIT, size - 12):
            raise self._broken("is damaged: its footer is larger than it can be")
        file.seek(size - 8 - length)
        return file.read(length)

    def _rows(self, file: BinaryIO, footer: bytes) -> Iterator[Element]:
        from pyarrow import parquet, schema

        size = file.seek(0, os.SEEK_END)
        self._declared, pages = measured(file, footer)
        self._refuse_bomb(size, pages)
        # The footer's own notes on types could name classes; only plain ones are built.
        opened = parquet.ParquetFile(
            file,
            buffer_size=READ,
            pre_buffer=False,
            arrow_extensions_enabled=False,
            page_checksum_verification=True,
            schema_depth_limit=DEPTH_LIMIT,
        )
        if twice := repeated_name(opened.schema_arrow):
            raise self._broken(f"has two columns called “{printable(twice[:40])}”")
        target = schema([(field.name, stored_as(field.type)) for field in opened.schema_arrow])
        cells = Cells(opened.schema_arrow)
        for batch in opened.iter_batches(_batch_rows(pages), use_threads=False):
            for row, problem in cells.rows(batch, target):
                yield self._element(row, problem, size)
        if self._given != self._declared:
            raise self._broken(f"says it has {self._declared:,} rows and holds {self._given:,}")
        self.told = (f"A Parquet file with {len(target.names)} columns: {enumerated(target.names)}.",)

    def _refuse_bomb(self, size: int, pages: Pages) -> None:
        if self._declared > size:
            raise self._broken(f"says it has {self._declared:,} rows in {size:,} bytes")
        if pages.largest > PAGE_LIMIT or pages.values > VALUES_LIMIT:
            most = f"{PAGE_LIMIT >> 20} MB beside one another, or to more than {VALUES_LIMIT:,} values"
            raise self._broken(f"has pages that unpack to more than {most}")
        self._refuse_size(pages.total, size)

    def _refuse_size(self, unpacked: int, size: int) -> None:
        if unpacked > UNPACKED_LIMIT:
            raise self._broken(f"unpacks to more than {UNPACKED_LIMIT >> 20:,} MB")
        if unpacked > RATIO_FROM and unpacked > RATIO_LIMIT * size:
            raise self._broken(f"unpacks to more than {RATIO_LIMIT} times its size")

    def _element(self, row: dict[str, Any], problem: Problem | None, size: int) -> Element:
        self._given += 1
        raw = _told(row)
        self._bytes += len(raw)
        self._refuse_size(self._bytes, size)
        return too_long(self._given, raw) if len(raw) > ROW_LIMIT else Element(self._given, row, raw, problem)


def _told(row: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(row)
    except TypeError:  # bytes that are no UTF-8
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


def _batch_rows(pages: Pages) -> int:
    """So many that even the largest values, one in each row, stay within bounds."""
    by_bytes, by_values = BATCH_BYTES // max(pages.largest, 1), BATCH_VALUES // max(pages.values, 1)
    return max(1, min(BATCH_ROWS, by_bytes, by_values))
