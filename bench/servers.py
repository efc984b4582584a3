"""A PostgreSQL and a Redis of one's own, from Debian's packages: killed and started again at will, gone at the end."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import redis

PATIENCE = 60.0
PR_SET_PDEATHSIG = 1
# A process may be killed here, the machine not: the kernel keeps what was written.
QUICK = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200")


class ServerMissing(Exception):  # noqa: N818
    """The program is not on this machine; the text says what to do."""


class Server:
    """One server, which keeps its data and its address over its deaths."""

    def __init__(self, url: str, command: list[str], user: str | None = None) -> None:
        self.url = url
        self.command = command
        self.user = user
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns at the first answer; a PostgreSQL that was killed may have to wait for its last backends to go."""
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            if self.process is None or self.process.poll() is not None:
                self.process = launch(self.command, self.user)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.command[0]} does not answer at {self.url}.")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL for it and all that it started."""
        if self.process is None:
            return
        with suppress(psutil.NoSuchProcess):
            family = [*psutil.Process(self.process.pid).children(recursive=True), psutil.Process(self.process.pid)]
            for one in family:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        self.process.wait()

    def answers(self) -> bool:
        try:
            if self.url.startswith("redis"):
                return bool(redis.Redis.from_url(self.url).ping())
            psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=2).close()
        except (redis.RedisError, psycopg.OperationalError):
            return False
        return True


def launch(command: list[str], user: str | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        cwd="/",
        env={name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_us,
    )


def die_with_us() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@contextmanager
def postgresql() -> Iterator[Server]:
    """A fresh cluster that trusts loopback; it refuses to run as root, so root lends it to another user."""
    user = servant() if os.getuid() == 0 else None
    with folder(user) as data:
        made = [program("initdb"), "-D", str(data / "rows"), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]
        group = pwd.getpwnam(user).pw_gid if user else None
        subprocess.run(made, user=user, group=group, extra_groups=[] if user else None, cwd="/", check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        port = free_port()
        command = [program("postgres"), "-D", str(data / "rows"), "-p", str(port), "-k", str(data), *QUICK]
        server = Server(f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres", command, user)
        with ExitStack() as stack:
            stack.callback(server.kill)
            server.start()
            yield server


@contextmanager
def redis_server() -> Iterator[Server]:
    """As docker-compose.yml runs it: what was queued outlives its death."""
    with folder(None) as data:
        port = free_port()
        command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        server = Server(f"redis://127.0.0.1:{port}/0", command)
        with ExitStack() as stack:
            stack.callback(server.kill)
            server.start()
            yield server


def program(name: str) -> str:
    """From PATH, or from where Debian keeps the newest PostgreSQL, which is on nobody's PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = shutil.which(name) or (str(debian[-1]) if debian else None)
    if found is None:
        raise ServerMissing(
            f"{name} is not on this machine. As root run `sh tests/install-system.sh`, "
            "or name running servers in TEST_DATABASE_URL and TEST_REDIS_URL."
        )
    return found


def servant() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextmanager
def folder(user: str | None) -> Iterator[Path]:
    """Short of path, as it holds a socket, and owned by who runs the server."""
    with tempfile.TemporaryDirectory(prefix="studio-", dir="/tmp", ignore_cleanup_errors=True) as made:
        if user:
            shutil.chown(made, user)
        yield Path(made)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
