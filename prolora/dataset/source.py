"""A file as it comes: what it is on the outside, or a sentence on what it looks like instead."""

import codecs
from pathlib import Path

from prolora.dataset.container import Container
from prolora.dataset.element import printable
from prolora.dataset.json_files import json_container
from prolora.dataset.table import Table, delimiter_of
from prolora.errors import DatasetError

READ = 1 << 20

# How files begin that people upload by mistake.
SIGNATURES = (
    (b"PK\x03\x04", "a zip archive (or an Excel file)"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"ARROW1", "an Arrow file"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
    (b"version https://git-lfs", "a Git LFS pointer, which stands for a file that was not fetched"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML file"),
)
SAVE = "Save it as JSON, JSONL or CSV in UTF-8."


def open_file(path: Path) -> Container:
    """The file's container; raises DatasetError when it cannot be a dataset."""
    try:
        _check(path)
    except OSError as error:
        raise DatasetError(
            f"{path.name} cannot be read: {error.strerror}. Choose a JSON, JSONL or CSV file."
        ) from error
    if found := json_container(path, path.name):
        return found
    if delimiter := delimiter_of(path):
        return Table(path, path.name, delimiter)
    with path.open("rb") as file:
        start = file.read(200).decode(errors="replace").strip().split("\n")[0][:20]
    raise DatasetError(f"{path.name} starts with “{printable(start)}” and is neither JSON, JSONL nor a table. {SAVE}")


def _check(path: Path) -> None:
    filled = False
    with path.open("rb") as file:
        head = file.read(64)
        start = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
        for signature, looks in SIGNATURES:
            if head.startswith(signature) or start.startswith(signature):
                raise DatasetError(f"{path.name} looks like {looks}. {SAVE}")
        file.seek(0)
        while data := file.read(READ):
            if b"\0" in data:
                raise DatasetError(f"{path.name} looks like a binary file or text in UTF-16. {SAVE}")
            filled = filled or bool(data.removeprefix(codecs.BOM_UTF8).strip())
    if not filled:
        raise DatasetError(f"{path.name} is empty. Choose a file with at least one row.")
