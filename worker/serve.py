"""The one serving process: `python -m worker.serve` keeps a vLLM server up and gives it adapters by name."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil
from sqlalchemy import select

import prolora
from db import files
from db.models import Adapter, Job, Serving, now
from db.session import session
from db.settings import settings
from prolora.base_models import BaseModel, find
from prolora.errors import StudioError
from prolora.methods import is_served
from prolora.vllm import launch
from worker import base_files

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
STOP_PATIENCE = 5.0
LOOK_EVERY = 2.0
LORA_RANK = 64
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

stopping = threading.Event()


def publish(adapter: Adapter) -> None:
    """Let the server find an adapter by its name; harmless when repeated."""
    source, target = files.adapter_dir(adapter.content_hash), files.published_dir(adapter.name)
    if target.exists():
        return
    with files.write_aside(target) as aside:
        for name in ADAPTER_FILES:
            link_or_copy(source / name, aside / name)


def link_or_copy(source: Path, target: Path) -> None:
    """One set of bytes on the disk where the file system allows it: the files never change."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def publish_all() -> None:
    with session() as s:
        adapters = s.scalars(select(Adapter)).all()
    for adapter in adapters:
        publish(adapter)


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    control_process(PR_SET_CHILD_SUBREAPER, 1)
    publish_all()
    pause = FIRST_PAUSE
    while not stopping.is_set():
        was_ready = serve_once()
        pause = FIRST_PAUSE if was_ready else min(pause * 2, LONGEST_PAUSE)
        stopping.wait(pause)
    tell("stopped")


def stop(_number: int, _frame: FrameType | None) -> None:
    stopping.set()


def serve_once() -> bool:
    """Run one server to its end, saying in the row how it does; True if it was ever ready."""
    tell("starting")
    try:
        model = find(settings().serve_base)
        rank = highest_rank(model)
        line = server_command(model, rank)
    except StudioError as error:
        tell("failed", str(error))
        return False
    with server(line) as process:
        ready = wait_until_ready(process)
        if ready:
            tell("ready")
        while process.poll() is None and not stopping.wait(LOOK_EVERY):
            if highest_rank(model) > rank:
                tell("starting", "An adapter of a higher rank has come.")
                return ready  # an adapter has come that needs wider slots: the next server has them
    if not stopping.is_set():
        tell("failed", f"The server ended with code {process.returncode} and is started again. See its log.")
    return ready


def server_command(model: BaseModel, rank: int) -> list[str]:
    return launch.command(
        str(base_files.folder(model)),
        model.name,
        "127.0.0.1",
        settings().serve_port,
        cuda=Path("/dev/nvidia0").exists(),
        max_lora_rank=rank,
        chat_template=Path(prolora.__file__).with_name("chat.jinja"),
    )


def highest_rank(model: BaseModel) -> int:
    """Of what there is to serve; room for LORA_RANK at least, as slots are padded to it."""
    served = select(Job.plan).join(Adapter, Adapter.job_id == Job.id).where(Adapter.base_model == model.name)
    with session() as s:
        plans = s.scalars(served).all()
    ranks = [int(plan["setting"]["r"]) for plan in plans if is_served(plan["method"])]
    return min(max([LORA_RANK, *ranks]), max(launch.RANKS))


@contextmanager
def server(line: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The server as a child, of which nothing is left when the block ends."""
    environment = os.environ | launch.environment(files.published_root(), settings().serve_key)
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL, env=environment, preexec_fn=end_with_parent)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        kill_rest()


def end_with_parent() -> None:
    """Asked to stop, not killed: vLLM's engine is a process of its own, which only vLLM itself ends in that case."""
    control_process(PR_SET_PDEATHSIG, signal.SIGTERM)


def control_process(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def kill_rest() -> None:
    """A server that was killed leaves its engine behind; as a subreaper this process is then its parent."""
    rest = psutil.Process().children(recursive=True)
    for process in rest:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(rest, STOP_PATIENCE)


def wait_until_ready(process: subprocess.Popen[bytes]) -> bool:
    while process.poll() is None and not stopping.wait(0.5):
        if healthy():
            return True
    return False


def healthy() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{settings().serve_port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def tell(state: str, detail: str = "") -> None:
    """Say how the server does; the studio's pages read it."""
    with session() as s:
        row = Serving(id=1, base_model=settings().serve_base, state=state, detail=detail, updated_at=now())
        s.merge(row)


if __name__ == "__main__":
    main()
