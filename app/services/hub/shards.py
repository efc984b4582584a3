"""Joining the shards of a split into one file."""

import codecs
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from db.settings import settings
from prolora.errors import DatasetError

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Schema

READABLE = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")  # each also as .gz or .zip
PACKED = (".gz", ".zip")
JOINED = {".jsonl": ".jsonl", ".ndjson": ".jsonl", ".parquet": ".parquet"}
SWELL = 4  # joined shards may be so many times what may be uploaded
BLOCK = 1 << 20
BATCH = 2_000  # rows of Parquet in memory


def kind(file: str) -> str:
    """Its ending under the packing: `.jsonl` for `train.jsonl.gz`."""
    path = PurePosixPath(file.lower())
    return path.with_suffix("").suffix if path.suffix in PACKED else path.suffix


def readable(file: str) -> bool:
    return kind(file) in READABLE or _zipped(file)


def _zipped(file: str) -> bool:
    return file.lower().endswith(".zip")


def check(name: str, files: Sequence[str]) -> None:
    """Raise unless the files are one, or shards that can be joined."""
    joined = {None if _zipped(file) else JOINED.get(kind(file)) for file in files}
    if len(files) > 1 and (len(joined) > 1 or None in joined):
        shown = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
        raise DatasetError(
            f"This split of {name} is {len(files)} files that cannot be joined: {shown}. Only several JSONL or several "
            "Parquet files can. Download the one you want and upload it."
        )


def join(parts: Sequence[Path], stem: Path) -> Path:
    """One file with the rows of all, `stem` with its ending; raises DatasetError naming the shard that does not fit."""
    ending = JOINED[kind(parts[0].name)]
    target = stem.with_name(stem.name + ending)
    if ending == ".parquet":
        _join_parquet(parts, target)
    else:
        _join_lines(parts, target)
    return target


def megabytes(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MB"


def _join_lines(parts: Sequence[Path], target: Path) -> None:
    size = 0
    with target.open("wb") as joined:
        for part in parts:
            last = b"\n"
            for block in _unpacked(part):
                size += joined.write(block)
                last = block[-1:] or last
                _check_size(size)
            if last != b"\n":
                joined.write(b"\n")


def _unpacked(part: Path) -> Iterator[bytes]:
    """The text of a shard behind its byte order mark."""
    try:
        with part.open("rb") as packed, _opened(packed, part.suffix) as file:
            first = file.read(BLOCK)
            if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise DatasetError(f"{part.name} is text in UTF-16, which cannot be joined. Save the shards as UTF-8.")
            yield first.removeprefix(codecs.BOM_UTF8)
            while block := file.read(BLOCK):
                yield block
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(f"{part.name} cannot be unpacked: it is damaged, or no gzip file.") from error


def _opened(packed: BinaryIO, ending: str) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=packed)) if ending.lower() == ".gz" else packed


def _join_parquet(parts: Sequence[Path], target: Path) -> None:
    from pyarrow import parquet

    size, writer = 0, None
    try:
        for batch in _batches(parts):
            size += batch.nbytes
            _check_size(size)
            writer = writer or parquet.ParquetWriter(target, batch.schema)
            writer.write_batch(batch)
    finally:
        if writer:
            writer.close()


def _batches(parts: Sequence[Path]) -> "Iterator[RecordBatch]":
    """A few rows at a time: what a row group says of its size is not believed. Shards without rows give one batch."""
    from pyarrow import ArrowException, RecordBatch, parquet

    part = parts[0]
    try:
        schema = parquet.read_schema(part)
        yield RecordBatch.from_pylist([], schema)
        for part in parts:
            with parquet.ParquetFile(part) as shard:
                _check_columns(part, shard.schema_arrow, schema)
                yield from shard.iter_batches(BATCH)
    except (ArrowException, OSError) as error:
        raise DatasetError(
            f"{part.name} cannot be read as Parquet ({str(error)[:200]}). Try again, or upload it."
        ) from error


def _check_columns(part: Path, columns: "Schema", schema: "Schema") -> None:
    if not columns.equals(schema):
        differing = sorted({str(field) for field in columns} ^ {str(field) for field in schema})
        raise DatasetError(
            f"The shard {part.name} has other columns than the first: {', '.join(differing) or 'in another order'}. "
            "Download the shard you want and upload it."
        )


def _check_size(size: int) -> None:
    limit = SWELL * settings().max_upload_mb << 20
    if size > limit:
        raise DatasetError(
            f"The joined shards are over {megabytes(limit)} unpacked, which is too much. Choose a smaller split, or "
            "raise STUDIO_MAX_UPLOAD_MB."
        )
