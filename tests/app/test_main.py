import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.services import jobs, uploads
from db import files
from db.models import OWNER, Adapter
from db.session import session
from db.settings import settings
from tests.app.conftest import taken_in

FOREIGN = ("torch", "transformers", "peft", "worker")


@pytest.fixture
def client(studio: Path) -> TestClient:
    return TestClient(create_app(), base_url="http://localhost")


def test_importing_the_web_page_loads_no_model_library():
    code = f"import app.main, sys; sys.exit(' '.join(m for m in {FOREIGN} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_health_and_readiness_are_told(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok", "serving": "starting"}


@pytest.mark.parametrize("path", ["/", "/datasets", "/wizard", "/jobs", "/leaderboard", "/playground", "/adapters"])
def test_every_page_answers(client, path):
    assert client.get(path).status_code == 200


def test_a_foreign_host_name_is_refused(client):
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 400


def test_a_studio_on_every_address_answers_only_to_its_own_names(studio, monkeypatch):
    monkeypatch.setenv("STUDIO_HOST", "0.0.0.0")
    monkeypatch.setenv("STUDIO_ALLOWED_HOSTS", "studio.example, ")
    settings.cache_clear()
    client = TestClient(create_app())
    known = [
        client.get("/healthz", headers={"Host": host}).status_code for host in ("127.0.0.1:7860", "studio.example")
    ]
    assert known == [200, 200]
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 400


def test_no_foreign_origin_is_let_in(client):
    reply = client.get("/config", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in reply.headers


def test_neither_files_of_the_studio_nor_its_code_can_be_fetched(client, studio):
    for path in (studio / "studio.db", Path("pyproject.toml").resolve()):
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_an_adapter_is_downloaded_as_it_is_stored_with_words_on_how_to_load_it(client, choice):
    adapter_id = stored_adapter(jobs.start(choice)[0])
    reply = client.get(f"/download/adapter/{adapter_id}/compact.zip")
    assert reply.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(BytesIO(reply.content))
    names = {Path(name).name for name in archive.namelist()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    assert "import prolora.peft" in archive.read("tickets-1/README.md").decode()
    assert not list(files.uploads_dir().glob("*.zip"))


def test_an_adapter_that_is_not_there_is_not_found(client):
    reply = client.get("/download/adapter/5/expanded.zip")
    assert reply.status_code == 404
    assert reply.json()["detail"] == "There is no adapter number 5."


@pytest.mark.parametrize("path", ["adapter/{}/compact.zip", "adapter/{}/expanded.zip", "dataset/{}/rejects.jsonl"])
def test_a_number_too_large_for_any_row_is_not_found(client, path):
    assert client.get("/download/" + path.format(10**30)).status_code == 404


def test_all_that_was_left_out_of_a_dataset_is_downloaded(client, tmp_path):
    path = tmp_path / "sums.jsonl"
    path.write_text('{"instruction": "Why?", "output": "So."}\n{"instruction": "How?", "output": "Thus."}\nnot json\n')
    kept = uploads.keep(taken_in(uploads.receive(path, path.name)), "Sums")
    (reject,) = client.get(f"/download/dataset/{kept.id}/rejects.jsonl").text.splitlines()
    assert json.loads(reject)["line"] == 3
    assert client.get("/download/dataset/99/rejects.jsonl").status_code == 404


def stored_adapter(job_id: int, method: str = "prolora") -> int:
    digest = "a" * 64
    with files.write_aside(files.adapter_dir(digest)) as folder:
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
    with session() as s:
        adapter = Adapter(
            owner_id=OWNER,
            job_id=job_id,
            name="tickets-1",
            method=method,
            base_model="demo",
            content_hash=digest,
            parameters=156_336,
            size_bytes=7,
            dtype="float32",
        )
        s.add(adapter)
        s.flush()
        return adapter.id
