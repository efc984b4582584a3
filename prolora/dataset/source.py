"""A file as it comes: what it is on the outside, or a sentence on what it looks like instead."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path, PurePath

from prolora.dataset.archives import packing_of
from prolora.dataset.container import Container
from prolora.dataset.element import printable
from prolora.dataset.encodings import ENCODINGS, SAVE, binary, census, chosen, detect
from prolora.dataset.json_files import PEEK, JsonLines, json_container
from prolora.dataset.parquet import ENCRYPTED, MAGIC, Parquet
from prolora.dataset.plain_text import PlainText
from prolora.dataset.stream import Bare, Source
from prolora.dataset.table import Table, division_of
from prolora.errors import DatasetError

# How files begin that people upload by mistake: their bytes, and their text.
SIGNATURES = (
    (b"ARROW1", "an Arrow file"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file"),
    (b"{\\rtf", "a document in RTF"),
    (b"SQLite format 3", "an SQLite database"),
)
ARCHIVES = (
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
)
# Names that promise rows with fields: what breaks the promise is no plain text either.
STRUCTURED = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"})
HEAD = 4096  # bytes by which a file is told
TAR, TAR_AT = b"ustar", 257
PAGES = (
    (b"version https://git-lfs", "a Git LFS pointer, which stands for a file that was not fetched"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML file"),
)


class MisreadError(Exception):
    """The file is in another encoding than its beginning is."""


def open_file(path: Path, encoding: str | None = None) -> Container:
    """The file's container, in the encoding that its bytes tell unless one is given.

    Raises DatasetError when it cannot be a dataset.
    """
    return _opened(path, encoding, _find_encoding)


def open_early(path: Path, encoding: str | None = None) -> Container:
    """The same before all bytes have been looked at, where it is JSONL that begins as UTF-8.

    Whoever reads it calls `confirm` as soon as there is something else in it.
    """
    return _opened(path, encoding, _presume_encoding)


def confirm(source: Source) -> None:
    """Tell the encoding from all of the bytes, unless that has been done. Raises DatasetError and MisreadError."""
    if not source.is_presumed:
        return
    presumed = source.encoding
    _find_encoding(source, None)
    if source.encoding != presumed:
        raise MisreadError


def _opened(path: Path, encoding: str | None, tell: Callable[[Source, str | None], None]) -> Container:
    try:
        source = _unpacked(path)
        with source.open_bytes() as file:
            head = file.read(HEAD)
        if head.startswith((MAGIC, ENCRYPTED)):
            source.encoding = ""
            return Parquet(source)
        _refuse_binary(source, head)
        tell(source, encoding)
        return _container(source)
    except OSError as error:
        raise DatasetError(
            f"{path.name} cannot be read: {error.strerror}. Choose a JSON, JSONL or CSV file."
        ) from error


def _unpacked(path: Path) -> Source:
    bare = Source(path, Bare(path.name))
    packing = packing_of(bare)
    if not packing.name:
        return bare
    return Source(path, packing, evidence=(f"Unpacked: {printable(packing.inner)}{packing.name}.",))


def _refuse_binary(source: Source, head: bytes) -> None:
    looks = next((looks for start, looks in SIGNATURES if head.startswith(start)), "")
    if looks:
        raise DatasetError(f"{source.name} {_is(source)} {looks}. {SAVE}")
    archive = "a tar archive" if head.startswith(TAR, TAR_AT) else ""
    archive = archive or next((looks for start, looks in ARCHIVES if head.startswith(start)), "")
    if archive:
        advice = "Unpack it and choose the data file inside, as it is or packed alone as gzip or zip."
        raise DatasetError(f"{source.name} {_is(source)} {archive}. {advice}")


def _is(source: Source) -> str:
    return "holds" if source.packing.name else "looks like"


def _presume_encoding(source: Source, encoding: str | None) -> None:
    if encoding is None and not source.packing.name:
        with source.open_bytes() as file:
            head = file.read(PEEK)
        lines = census(BytesIO(head[: head.rfind(b"\n") + 1]))
        source.is_presumed = lines.is_text and isinstance(json_container(source), JsonLines)
    if not source.is_presumed:
        _find_encoding(source, encoding)


def _find_encoding(source: Source, encoding: str | None) -> None:
    source.is_presumed = False
    with replace(source).open_bytes() as file:  # the progress of who reads the source now stays
        found = census(file)
    if not found.filled:
        raise DatasetError(f"{source.name} is empty. Choose a file with at least one row.")
    if encoding is None:
        source.encoding, told = detect(found, source.name)
    else:
        source.encoding = chosen(encoding, found.head)
        if found.first_zero is not None and not source.encoding.startswith("utf-16"):
            raise binary(found, source.name)
        told = f"Read as {ENCODINGS[source.encoding]} ({source.encoding}), as was asked for."
    source.evidence = (*source.evidence, *filter(None, [told]))


def _container(source: Source) -> Container:
    with source.open() as file:
        head = file.read(HEAD)
    start = head.lstrip().lower()
    for signature, looks in PAGES:
        if start.startswith(signature):
            raise DatasetError(f"{source.name} looks like {looks}. {SAVE}")
    if found := json_container(source):
        return found
    if b"\r" in head and b"\n" not in head:
        raise DatasetError(f"{source.name} ends its lines as old Macs did. Save it with the line ends of today.")
    structured = PurePath(source.packing.inner).suffix.lower() in STRUCTURED
    division = division_of(source)
    if division and (structured or division.is_certain):
        return Table(source, division.delimiter)
    if not structured:
        return PlainText(source)
    line = head.decode(errors="replace").strip().split("\n")[0][:20]
    raise DatasetError(f"{source.name} starts with “{printable(line)}” and is neither JSON, JSONL nor a table. {SAVE}")
