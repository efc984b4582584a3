"""The images and the compose file, as far as they can be tried without a container engine."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import create_engine, make_url, text

from bench import servers
from tests import services

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE, COMPOSE = ROOT / "Dockerfile", ROOT / "docker-compose.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
PATIENCE = 90


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    line = [str(Path(sys.executable).with_name(command[0])), *command[1:]]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def checked_compose(path: Path) -> subprocess.CompletedProcess[str]:
    return tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(path))


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("FROM python:3.11-slim-bookworm", "FROM python:latest", "DL3007"),
        ("WORKDIR /studio", "WORKDIR studio", "DL3000"),
        ("    && rm -rf /var/lib/apt/lists/* \\\n", "", "DL3009"),
    ],
)
def test_the_dockerfile_passes_and_a_planted_error_does_not(tmp_path: Path, right: str, wrong: str, rule: str) -> None:
    assert tool("hadolint", str(DOCKERFILE)).returncode == 0
    planted = tmp_path / "Dockerfile"
    planted.write_text(DOCKERFILE.read_text().replace(right, wrong))
    found = tool("hadolint", str(planted))
    assert found.returncode != 0
    assert rule in found.stdout


@pytest.mark.parametrize(
    ("right", "wrong"), [("  read_only: true", "  readonly: true"), ("interval: 5s", "intervall: 5s")]
)
def test_the_compose_file_passes_and_a_planted_error_does_not(tmp_path: Path, right: str, wrong: str) -> None:
    assert checked_compose(COMPOSE).returncode == 0
    planted = tmp_path / "docker-compose.yml"
    planted.write_text(COMPOSE.read_text().replace(right, wrong))
    assert checked_compose(planted).returncode != 0


def test_every_part_of_the_studio_is_a_service() -> None:
    assert set(SERVICES) == {"postgres", "redis", "migrate", "web", "worker", "reconcile", "serving"}


def test_our_containers_can_write_their_volumes_only_and_gain_no_rights() -> None:
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.findall(r"^USER (.+)$", DOCKERFILE.read_text(), re.MULTILINE) == ["1000", "1000"]


def test_nothing_is_published_but_the_page_on_loopback_and_no_secret_is_written_down() -> None:
    assert [port for service in SERVICES.values() for port in service.get("ports", [])] == ["127.0.0.1:7860:7860"]
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name
            assert "://" not in value or make_url(value).password is None
    assert "studio.env" in (ROOT / ".dockerignore").read_text().split()


def test_secrets_are_drawn_once_and_for_nobody_else_to_read(tmp_path: Path) -> None:
    make = ["make", "-f", str(ROOT / "Makefile"), "-C", str(tmp_path), "--silent", f"PYTHON={sys.executable}"]
    for _ in range(2):
        subprocess.run([*make, "studio.env"], check=True)
    drawn = tmp_path / "studio.env"
    values = dict(line.split("=") for line in drawn.read_text().split())
    assert values["POSTGRES_PASSWORD"] == values["PGPASSWORD"] != values["STUDIO_SERVE_KEY"]
    assert min(map(len, values.values())) == 48
    assert drawn.stat().st_mode & 0o777 == 0o600


def target(name: str) -> str:
    """The part of the Dockerfile that an image is made of."""
    (found,) = [part for part in DOCKERFILE.read_text().split("FROM ") if part.startswith(f"base AS {name}\n")]
    return found


def command(service: dict[str, Any]) -> list[str]:
    """As the container would run it, by this Python."""
    made = re.findall(r"^CMD (.+)$", target(service["build"]["target"]), re.MULTILINE)
    words = service.get("command") or json.loads(made[-1])
    return [sys.executable, *words[1:]] if words[0] == "python" else words


class Machine:
    """A copy of what goes into the images, with real services, where each command runs with its own environment."""

    def __init__(self, root: Path, database: str, broker: str) -> None:
        self.root = root
        self.port = str(servers.free_port())
        self.places = {
            "postgresql+psycopg://studio@postgres/studio": database,
            "redis://redis:6379/0": broker,
        }
        self.database = create_engine(database)

    def environment(self, service: dict[str, Any]) -> dict[str, str]:
        asked = {name: self.places.get(value, interpolated(value)) for name, value in service["environment"].items()}
        here = {"STUDIO_DATA": str(self.root / "data"), "PYTHONPATH": str(self.root / "studio"), "OMP_NUM_THREADS": "1"}
        ports = {"STUDIO_PORT": self.port, "STUDIO_SERVE_PORT": str(servers.free_port()), "STUDIO_SERVE_KEY": "k" * 48}
        plain = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}
        return plain | asked | here | ports

    def start(self, name: str) -> subprocess.Popen[bytes]:
        service = OURS[name]
        with (self.root / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command(service),
                cwd=self.root / "studio",
                env=self.environment(service),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def worker_health(self) -> int:
        """What the compose file's check says of the workers here."""
        line = [sys.executable, *OURS["worker"]["healthcheck"]["test"][2:]]
        told = subprocess.run(line, cwd=self.root / "studio", env=self.environment(OURS["worker"]), check=False)
        return told.returncode

    def health(self) -> int:
        """What the image's own check says of the page."""
        (check,) = re.findall(r"^HEALTHCHECK .*CMD (.+)$", target("web"), re.MULTILINE)
        words = [word.replace("7860", self.port) for word in json.loads(check)[1:]]
        return subprocess.run([sys.executable, *words], capture_output=True, check=False).returncode

    def value(self, query: str) -> Any:
        with self.database.begin() as connection:
            return connection.execute(text(query)).scalar()

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text()


def interpolated(value: str) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


@pytest.fixture
def machine(tmp_path: Path, postgresql: str) -> Iterator[Machine]:
    ignored = (ROOT / ".dockerignore").read_text().replace("**/", "").split()
    shutil.copytree(ROOT, tmp_path / "studio", ignore=shutil.ignore_patterns(*ignored))
    with services.database(postgresql) as database, servers.redis_server() as broker:
        machine = Machine(tmp_path, database, broker.url)
        yield machine
        machine.database.dispose()


def until(true: Callable[[], object], told: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, told()
        time.sleep(0.2)


def test_each_command_of_the_compose_file_starts_and_does_its_part(machine: Machine) -> None:
    assert machine.start("migrate").wait(PATIENCE) == 0, machine.log("migrate")
    assert machine.value("SELECT name FROM people") == "owner"
    machine.value(
        "INSERT INTO datasets (owner_id, name, source_name, source_hash, content_hash, form, mapping, kept, rejected,"
        " held_out, report, created_at) VALUES (1, 'd', 'd', 's', 'c', 'f', '{}', 1, 0, 0, '{}', now()) RETURNING id"
    )
    machine.value(
        "INSERT INTO jobs (owner_id, dataset_id, name, plan, parameters, kind, priority, gpus, status, stage, step,"
        " total_steps, record, cancel_requested, stop_requested, attempt, losses, created_at) VALUES (1, 1, 'p', '{}',"
        " 0, 'probe', 0, 1, 'queued', '', 0, 0, '{}', false, false, 0, 0, now() - interval '1 minute') RETURNING id"
    )
    assert machine.worker_health() == 1
    running = {name: machine.start(name) for name in ("web", "worker", "reconcile", "serving")}
    with ExitStack() as stack:
        for process in running.values():
            stack.callback(process.wait)
            stack.callback(process.kill)
        until(lambda: machine.value("SELECT status FROM jobs") == "succeeded", lambda: machine.log("worker"))
        until(lambda: machine.worker_health() == 0, lambda: machine.log("worker"))
        until(lambda: machine.health() == 0, lambda: machine.log("web"))
        until(lambda: machine.value("SELECT state FROM serving") == "starting", lambda: machine.log("serving"))
        assert {name: process.poll() for name, process in running.items()} == dict.fromkeys(running)
        for name, process in running.items():
            process.terminate()
            assert process.wait(30) in (0, -signal.SIGTERM), machine.log(
                name
            )  # uvicorn passes the signal on at its end
