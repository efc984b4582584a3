"""Files packed in gzip or zip, unpacked while they are read and never further than the limits allow."""

import io
import stat
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from prolora.dataset.element import enumerated
from prolora.dataset.stream import READ, Bare, Meter, Packing, Source, Stream
from prolora.errors import DatasetError

UNPACKED_LIMIT = 8 << 30  # bytes of an unpacked file
RATIO_LIMIT, RATIO_FROM = 200, 64 << 20  # unpacked bytes for each packed one, once there are so many
DIRECTORY_LIMIT = 1 << 20  # bytes of a zip's list of its files, some 15,000 of them
PIECE = 1 << 16  # packed bytes read at a time
IDLE = 1_000  # pieces or members in a row that unpack to nothing
ZIPS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
GZIP = b"\x1f\x8b"
OFFICE = {  # a folder that such a document has beside its list of contents
    "xl/": "an Excel workbook. Save its sheet as CSV in UTF-8",
    "word/": "a Word document. Save it as plain text",
    "ppt/": "a PowerPoint file. Save its text as plain text",
    "META-INF/": "an OpenDocument file. Save it as CSV or plain text",
}
CONTENTS = frozenset({"[Content_Types].xml", "content.xml"})
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


class Unpacker(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class Limited(io.RawIOBase):
    """What is unpacked, as long as it is sound and keeps the limits."""

    def __init__(self, file: Unpacker, meter: Meter, name: str, limit: int = UNPACKED_LIMIT) -> None:
        self._file, self._meter, self._name, self._limit, self._given = file, meter, name, limit, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._file.read(len(buffer))
        except DAMAGED as error:
            raise _damaged(self._name) from error
        self._given += len(data)
        if self._given > self._limit:
            what = f"unpacks to more than {self._limit >> 20:,} MB. Split it into several files"
            raise DatasetError(f"{self._name} {what}.")
        if self._given > RATIO_FROM and self._given > RATIO_LIMIT * self._meter.count:
            what = f"unpacks to more than {RATIO_LIMIT} times its size, as only a broken or hostile file does"
            raise DatasetError(f"{self._name} {what}. Unpack it, look at it, and choose the file inside.")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._meter.close()
        self._file.close()
        super().close()


class Gunzip:
    """One gzip member after another; zlib checks the length and the sum of each."""

    def __init__(self, file: Stream) -> None:
        self._file, self._rest = file, b""
        self._inflate = zlib.decompressobj(wbits=31)
        self._inside = False  # a member that has begun

    def read(self, size: int, /) -> bytes:
        for _ in range(IDLE):
            packed = self._rest or self._file.read(PIECE)
            if not self._inside:
                packed = self._begin(packed)
                if not packed:
                    return b""
            data = self._inflate.decompress(packed, size)
            self._inside = not self._inflate.eof
            self._rest = self._inflate.unconsumed_tail if self._inside else self._inflate.unused_data
            if data:
                return data
            if not packed and self._inside:
                break
        raise EOFError

    def _begin(self, packed: bytes) -> bytes:
        """What comes between members is nothing but zero bytes."""
        packed = packed.lstrip(b"\0")
        while not packed and (more := self._file.read(PIECE)):
            packed = more.lstrip(b"\0")
        self._rest, self._inside = b"", bool(packed)
        self._inflate = zlib.decompressobj(wbits=31)
        return packed

    def close(self) -> None:
        self._file.close()


class SmallReads(io.BufferedReader):
    """Refuses the one long read of a zip's directory, which would be held in memory whole."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY_LIMIT:
            raise DatasetError("This zip archive lists too many files. Pack only the data file.")
        return super().read(size)


@dataclass(frozen=True)
class Gzip:
    """A file packed alone."""

    path_name: str
    name: str = " in gzip"

    @property
    def inner(self) -> str:
        return self.path_name.removesuffix(".gz")

    def open(self, meter: Meter) -> Stream:
        return io.BufferedReader(Limited(Gunzip(io.BufferedReader(meter, READ)), meter, self.path_name), READ)


@dataclass(frozen=True)
class Zip:
    """The one data file of an archive."""

    path_name: str
    inner: str
    name: str = " in zip"

    def open(self, meter: Meter) -> Stream:
        with ExitStack() as undo:
            undo.callback(meter.close)
            try:
                archive = zipfile.ZipFile(SmallReads(meter, PIECE))
                meter.count = 0
                file = archive.open(self.inner)
            except DAMAGED as error:
                raise _damaged(self.path_name) from error
            undo.pop_all()
        return io.BufferedReader(Limited(file, meter, self.path_name), READ)


def packing_of(source: Source) -> Packing:
    """What a file is packed in, by its first bytes. Raises DatasetError where that holds no single data file."""
    with source.open_bytes() as file:
        head = file.read(4)
    if head.startswith(GZIP):
        return Gzip(source.name)
    return _zip(source) if head in ZIPS else Bare(source.name)


def _zip(source: Source) -> Zip:
    try:
        with SmallReads(Meter(source.path), PIECE) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except DAMAGED as error:
        raise _damaged(source.name) from error
    names = [member.filename for member in members]
    for folder, what in OFFICE.items() if CONTENTS.intersection(names) else ():
        if any(name.startswith(folder) for name in names):
            raise DatasetError(f"{source.name} is {what}.")
    for member in members:
        _refuse_path(member, source.name)
    return Zip(source.name, _single([member for member in members if not _is_aside(member)], source.name))


def _single(members: Sequence[zipfile.ZipInfo], archive: str) -> str:
    names = [member.filename for member in members]
    if not names:
        raise DatasetError(f"{archive} is a zip archive without a file. Choose another.")
    if len(names) > 1:
        raise DatasetError(f"{archive} holds several files: {enumerated(names, 5)}. Pack one of them alone.")
    name = enumerated(names)
    if members[0].flag_bits & 1:
        raise DatasetError(f"{name} in {archive} is encrypted. Unpack it and choose the file inside.")
    if stat.S_ISLNK(members[0].external_attr >> 16):
        raise DatasetError(f"{name} in {archive} is a link to another file. Pack the file itself.")
    if members[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DatasetError(f"{name} in {archive} is packed in an unusual way. Pack it by the method deflate.")
    return members[0].filename


def _is_aside(member: zipfile.ZipInfo) -> bool:
    """Folders, and what a Mac adds."""
    path = PurePosixPath(member.filename)
    return member.is_dir() or path.parts[:1] == ("__MACOSX",) or path.name == ".DS_Store"


def _refuse_path(member: zipfile.ZipInfo, archive: str) -> None:
    name = member.orig_filename.replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/") or "\0" in name:
        shown = enumerated([member.orig_filename])
        raise DatasetError(f"{archive} holds a file that points out of it, “{shown}”. Pack the data file alone.")


def _damaged(name: str) -> DatasetError:
    return DatasetError(f"{name} looks like a gzip or zip archive but is damaged or cut off. Pack or upload it again.")
