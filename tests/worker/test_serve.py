import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from db import files
from db.jobs import Lease
from db.models import Adapter, Serving
from db.session import session
from prolora.base_models import find
from tests.prolora.vllm_server import free_port
from tests.worker.conftest import Studio
from tests.worker.test_jobs import until
from worker import base, serve, work
from worker.keep import keep
from worker.train import attach

START = 240.0


def kept_adapter(studio: Studio, lease: Lease) -> Adapter:
    task = work.load(lease)
    keep(task, attach(base.load(studio.base, "none", 128), task.plan), find(str(studio.base)))
    return studio.adapter(lease.job_id)


def state() -> tuple[str, str]:
    with session() as s:
        row = s.get(Serving, 1)
        return (row.state, row.detail) if row else ("", "")


@contextmanager
def serving(base_model: str, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {
        "STUDIO_SERVE_BASE": base_model,
        "STUDIO_SERVE_PORT": str(port),
        "STUDIO_SERVE_KEY": "secret",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.serve"], env=environment, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_published_adapter_is_a_whole_folder_under_its_name_however_often(studio: Studio, lease: Lease) -> None:
    adapter = kept_adapter(studio, lease)
    serve.publish(adapter)
    serve.publish_all()
    folder = files.published_dir(adapter.name)
    assert sorted(path.name for path in folder.iterdir()) == sorted(serve.ADAPTER_FILES)
    assert [path.name for path in files.published_root().iterdir()] == [adapter.name]


def test_an_adapter_says_nothing_of_the_machine_it_was_trained_on(studio: Studio, lease: Lease) -> None:
    """For a catalogue model; a folder's own path is its name."""
    task = work.load(lease)
    model = attach(base.load(studio.base, "none", 128), task.plan)
    keep(task, model, dataclasses.replace(find(str(studio.base)), name="demo"))
    config = json.loads(
        (files.adapter_dir(studio.adapter(lease.job_id).content_hash) / "adapter_config.json").read_text()
    )
    assert config["base_model_name_or_path"] == "demo"


def test_a_base_that_is_not_there_is_told_in_the_row_and_tried_again(studio: Studio, tmp_path: Path) -> None:
    with serving(str(tmp_path / "nothing"), free_port(), tmp_path / "log") as process:
        until(lambda: state()[0] == "failed", 30)
        assert "nothing" in state()[1]
        process.terminate()
        assert process.wait(10) == 0
    assert state()[0] == "stopped"


def test_a_trained_adapter_answers_by_name_a_killed_server_comes_back_and_none_outlives_us(
    studio: Studio, lease: Lease, tmp_path: Path
) -> None:
    port = free_port()
    with serving(str(studio.base), port, tmp_path / "log") as process:
        until(lambda: state()[0] == "ready", START)
        adapter = kept_adapter(studio, lease)  # never seen before by the running server
        assert answer(port, adapter.name).status_code == 200
        assert answer(port, adapter.base_model).status_code == 200
        assert answer(port, "no-such-adapter").status_code == 404

        server, *others = psutil.Process(process.pid).children(recursive=True)
        server.kill()
        until(lambda: state()[0] == "starting", 20)
        assert psutil.wait_procs(others, 5)[1] == []
        until(lambda: state()[0] == "ready", START)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        assert psutil.wait_procs(family, 20)[1] == []


def answer(port: int, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return httpx.post(url, json=body, headers={"Authorization": "Bearer secret"}, timeout=60)
