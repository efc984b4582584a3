"""A studio on a data folder of its own, with a broker that nobody answers for."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import intake
from app.services import uploads
from app.services.jobs import Choice
from app.services.readers import ATTENDING
from app.services.uploads import Upload
from db.session import migrate
from db.settings import settings
from prolora.dataset import Choices


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def taken_in(upload: Upload, choices: Choices | None = None) -> Upload:
    """Read here and now, not in a process of its own."""
    intake.read(upload.key, uploads.renew(upload, choices or Choices()))
    return upload


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder, migrated."""
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("STUDIO_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.delenv("STUDIO_DATABASE_URL", raising=False)
    settings.cache_clear()
    migrate()
    yield tmp_path / "data"
    for attendant in (thread for thread in threading.enumerate() if thread.name.startswith(ATTENDING)):
        attendant.join(10)
    settings.cache_clear()


@pytest.fixture
def dataset(studio: Path) -> int:
    """The sample, kept."""
    return uploads.keep(taken_in(uploads.sample()), "Tickets").id


@pytest.fixture
def choice(dataset: int) -> Choice:
    return Choice(
        dataset=dataset,
        base="demo",
        budget="rank 8",
        setting="32,4,7,7",
        name="Tickets",
        epochs=6,
        learning_rate=3e-3,
        seed=1,
        batch_size=16,
        max_length=256,
        quantization="nf4",
        twin=True,
    )
