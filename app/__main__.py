"""The whole studio on one machine: `python -m app` starts every process and stops them all."""

import errno
import fcntl
import os
import secrets
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from app.children import Child
from app.crew import Post, posts
from app.services import uploads
from db import files
from db.broker import BrokerError, choose
from db.session import MigrationError, migrate
from db.settings import Settings, settings
from prolora.errors import StudioError

PAGE_DEADLINE = 120.0


class StartError(StudioError):
    """The studio cannot start here; its text says why and what to do."""


def main() -> int:
    try:
        return studio()
    except ValidationError as error:
        wrong = "\n".join(f"STUDIO_{str(e['loc'][0]).upper()} is {e['input']!r}: {e['msg']}." for e in error.errors())
        print(wrong, file=sys.stderr)
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).splitlines()[0]
        print(f"The database cannot be used: {said}. Check STUDIO_DATABASE_URL and STUDIO_DATA.", file=sys.stderr)
    except (StudioError, BrokerError, MigrationError) as error:
        print(error, file=sys.stderr)
    return 1


def studio() -> int:
    """Check, migrate, start, wait to be told to stop, stop."""
    os.umask(0o077)  # prompts, rows and logs are for nobody else to read
    chosen = settings()
    data = chosen.data.resolve()
    stopping = listen_for_stop()
    with only_one(data):
        check_port(chosen.host, chosen.port, "STUDIO_PORT")
        migrate()
        uploads.clear()
        children = {child.name: child for child in family(chosen, data)}
        try:
            for child in children.values():
                child.start()
            wait_for_page(chosen, children["page"], stopping)
            print(
                f"PRoLoRA Studio: {address(chosen)}\nData: {data}\nLogs: {data / 'logs'}\nCtrl-C stops it.", flush=True
            )
            watch(list(children.values()), stopping)
        finally:
            stop(children)
    print("Stopped.", flush=True)
    return 0


def listen_for_stop() -> list[int]:
    """A list that fills when somebody asks the studio to stop."""
    stopping: list[int] = []

    def heard(number: int, _frame: FrameType | None) -> None:
        stopping.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, heard)
    return stopping


@contextmanager
def only_one(data: Path) -> Iterator[None]:
    """The lock is the kernel's: it goes with this process, however that ends."""
    try:
        files.log_dir()
        file = files.lock_file().open("a+")
    except OSError as error:
        raise StartError(
            f"The data folder {data} cannot be written: {error.strerror}. Set STUDIO_DATA to another."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise StartError(
                f"A studio already runs on this data folder ({data}, process {file.read().strip() or 'unknown'}). "
                "Stop it or set STUDIO_DATA to another folder."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def check_port(host: str, port: int, name: str) -> None:
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"Port {port} on {host} is taken by another program. Stop it or set {name} to another port."
            ) from error
        variable = name if error.errno == errno.EACCES else "STUDIO_HOST"
        raise StartError(
            f"The studio cannot listen on {host}, port {port}: {error.strerror}. Set {variable} to another."
        ) from error


def serve_port(chosen: Settings) -> int:
    """Any free port, so that two studios started at once share none, unless somebody insists on one."""
    if "serve_port" not in chosen.model_fields_set:
        return _free_port(chosen.port)
    if chosen.serve_port == chosen.port:
        raise StartError(f"STUDIO_PORT and STUDIO_SERVE_PORT are both {chosen.port}. Set one to another port.")
    check_port("127.0.0.1", chosen.serve_port, "STUDIO_SERVE_PORT")
    return chosen.serve_port


def _free_port(but: int) -> int:
    """The page's own port is still free at this time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        return port if port != but else _free_port(but)  # another one, since this one is held meanwhile


def family(chosen: Settings, data: Path) -> list[Child]:
    """Every process of the studio, in the order of starting."""
    broker = choose(chosen.redis_url)
    env = {
        "STUDIO_DATA": str(data),
        "STUDIO_REDIS_URL": broker.url,
        "STUDIO_SERVE_PORT": str(serve_port(chosen)),
        "STUDIO_SERVE_KEY": chosen.serve_key or secrets.token_urlsafe(24),
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
    }
    python = [sys.executable, "-m"]
    commands = {
        "broker": list(broker.command),
        "page": [*python, "app.main"],
        "server": [*python, "worker.serve"],
        "reconciler": [*python, "worker.reconcile"],
    }
    logs = data / "logs"
    others = [Child(name, line, env, logs / f"{name}.log") for name, line in commands.items() if line]
    return [*others, *(worker(post, env, logs) for post in posts(chosen.workers))]


def worker(post: Post, env: dict[str, str], logs: Path) -> Child:
    line = [sys.executable, "-m", "worker", "--hostname", f"{post.name}@%h"]
    return Child(post.name, line, {**env, **post.env}, logs / f"{post.name}.log")


def address(chosen: Settings) -> str:
    host = "127.0.0.1" if chosen.host == "0.0.0.0" else chosen.host  # noqa: S104
    return f"http://{host}:{chosen.port}"


def wait_for_page(chosen: Settings, page: Child, stopping: list[int]) -> None:
    deadline = time.monotonic() + PAGE_DEADLINE
    while not stopping and not answers(address(chosen)):
        if page.process is not None and page.process.poll() is not None:
            raise StartError(f"The page could not start. Its log says why: {page.log}")
        if time.monotonic() > deadline:
            raise StartError(f"The page does not answer after {PAGE_DEADLINE:.0f} s. Its log: {page.log}")
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as reply:  # noqa: S310  # our own address
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def watch(children: list[Child], stopping: list[int]) -> None:
    while not stopping:
        for child in children:
            if news := child.look(time.monotonic()):
                print(news, flush=True)
        time.sleep(0.3)


def stop(children: dict[str, Child]) -> None:
    """The page first, so that nothing new comes in; the broker last, so that all can still say goodbye."""
    rest = [name for name in children if name not in ("page", "broker")]
    for wave in (["page"], rest, ["broker"]):
        present = [children[name] for name in wave if name in children]
        for child in present:
            child.ask_to_stop()
        for child in present:
            child.end()


if __name__ == "__main__":
    sys.exit(main())
