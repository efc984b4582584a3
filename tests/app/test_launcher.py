"""The real launcher, as a process, on a data folder and ports of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.__main__ import StartError, serve_port
from db import files
from db.settings import Settings
from tests.app.conftest import free_port

START_SECONDS, STOP_SECONDS = 90, 20


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    chosen = {
        "STUDIO_DATA": str(tmp_path / "data"),
        "STUDIO_PORT": str(free_port()),
        "STUDIO_SERVE_PORT": str(free_port()),
        "STUDIO_SERVE_BASE": "demo",
        "PYTHONUNBUFFERED": "1",
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}
    return others | chosen


def launch(env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "app"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def words(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=START_SECONDS)[0]


def of_studio(data: str) -> list[psutil.Process]:
    """Every process, wherever it hangs, that was started for this data folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("STUDIO_DATA") == data and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until_gone(data: str, seconds: float) -> list[psutil.Process]:
    deadline = time.monotonic() + seconds
    while (left := of_studio(data)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


@pytest.fixture
def running(env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = launch(env)
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        assert said == f"PRoLoRA Studio: http://127.0.0.1:{env['STUDIO_PORT']}\n"
        yield process
    finally:
        process.kill()
        process.wait()
        wait_until_gone(env["STUDIO_DATA"], STOP_SECONDS)


def test_a_second_start_is_refused_and_ctrl_c_stops_everything(env, running):
    second = launch({**env, "STUDIO_PORT": str(free_port())})
    said = words(second)
    assert second.returncode == 1
    assert "A studio already runs on this data folder" in said
    assert f"process {running.pid}" in said
    running.send_signal(signal.SIGINT)
    assert running.wait(STOP_SECONDS) == 0
    assert wait_until_gone(env["STUDIO_DATA"], 1) == []


def test_no_process_outlives_a_launcher_that_is_killed(env, running):
    assert len(of_studio(env["STUDIO_DATA"])) > 5
    running.kill()
    running.wait()
    assert wait_until_gone(env["STUDIO_DATA"], 10) == []


def test_a_child_that_dies_is_started_again_and_said(env, running):
    (loop,) = [p for p in of_studio(env["STUDIO_DATA"]) if p.cmdline()[1:] == ["-m", "worker.reconcile"]]
    loop.kill()
    assert running.stdout is not None
    said = [running.stdout.readline() for _ in range(5)]
    assert "The reconciler stopped (exit 137); it starts again in 1 s." in said[3]
    assert said[4] == "The reconciler is started again.\n"


def test_a_taken_port_is_named_and_nothing_is_started(env):
    with socket.create_server(("127.0.0.1", int(env["STUDIO_PORT"]))):
        process = launch(env)
        said = words(process)
    assert process.returncode == 1
    assert said.strip() == (
        f"Port {env['STUDIO_PORT']} on 127.0.0.1 is taken by another program. "
        "Stop it or set STUDIO_PORT to another port."
    )
    assert of_studio(env["STUDIO_DATA"]) == []
    assert not Path(env["STUDIO_DATA"], "studio.db").exists()


def test_the_data_folder_is_for_nobody_else_to_read(env):
    data = Path(env["STUDIO_DATA"])
    with socket.create_server(("127.0.0.1", int(env["STUDIO_PORT"]))):
        subprocess.run([sys.executable, "-m", "app"], env=env, umask=0o022, capture_output=True, check=False)
    assert [oct(path.stat().st_mode & 0o777) for path in (data, data / "logs")] == ["0o700", "0o700"]
    assert oct((data / "studio.lock").stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"STUDIO_PORT": "0"}, "STUDIO_PORT is '0': Input should be greater than or equal to 1."),
        ({"STUDIO_PORT": "http"}, "STUDIO_PORT is 'http'"),
        ({"STUDIO_HOST": "192.0.2.1"}, "Set STUDIO_HOST to another."),
        ({"STUDIO_HOST": "::1"}, "Set STUDIO_HOST to another."),
        ({"STUDIO_DATABASE_URL": "nonsense"}, "The database cannot be used"),
    ],
)
def test_a_setting_that_cannot_be_ends_the_start_with_one_sentence(env, wrong, sentence):
    process = launch({**env, **wrong})
    said = words(process)
    assert process.returncode == 1
    assert sentence in said
    assert len(said.splitlines()) == 1


def test_the_model_servers_port_is_any_free_one_unless_it_is_named(studio):
    assert len({serve_port(Settings(port=7860)) for _ in range(5)}) > 1
    named = free_port()
    assert serve_port(Settings(port=7860, serve_port=named)) == named
    with pytest.raises(StartError, match="are both"):
        serve_port(Settings(port=named, serve_port=named))


def test_what_was_left_of_an_upload_is_cleared(studio):
    (files.uploads_dir() / "half").write_text("a part")
    files.clear_uploads()
    assert list(files.uploads_dir().iterdir()) == []


def test_a_tether_kills_grandchildren_in_sessions_of_their_own(tmp_path):
    marker = str(tmp_path)
    code = "import subprocess, time; subprocess.Popen(['sleep', '60'], start_new_session=True); time.sleep(60)"
    tether = subprocess.Popen(
        [sys.executable, "-m", "app.tether", sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        env={**os.environ, "STUDIO_DATA": marker},
    )
    deadline = time.monotonic() + 20
    while len(of_studio(marker)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(of_studio(marker)) == 3
    assert tether.stdin is not None
    tether.stdin.close()
    tether.wait(10)
    assert wait_until_gone(marker, 5) == []
