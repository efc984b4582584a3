"""What a training tells, and hears, while it goes on."""

import time
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from db.jobs import Lease
from db.settings import settings
from tests.worker.conftest import Studio
from tests.worker.test_resume import curve
from worker.memory import Memory
from worker.progress import CHECKPOINT_EVERY, Progress, note


@pytest.fixture
def progress(lease: Lease) -> Progress:
    return Progress(lease, Memory(), tokens=lambda: 100.0)


def log(progress: Progress, step: int) -> None:
    progress.on_log(None, TrainerState(global_step=step, max_steps=9), TrainerControl(), {"loss": float(step)})


def ended_step(progress: Progress, step: int, **control: Any) -> TrainerControl:
    after = TrainerControl(**control)
    progress.on_step_end(None, TrainerState(global_step=step, max_steps=9), after)
    return after


def test_what_is_told_while_the_database_is_away_is_written_when_it_is_back(
    studio: Studio, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(progress, 1)
    with monkeypatch.context() as away:
        away.setenv("STUDIO_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/nothing")
        settings.cache_clear()
        log(progress, 2)
        log(progress, 3)
        assert not ended_step(progress, 3).should_training_stop
    settings.cache_clear()
    assert set(curve(progress.lease.job_id, "loss")) == {1}
    log(progress, 4)
    assert curve(progress.lease.job_id, "loss") == {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}
    assert studio.job(progress.lease.job_id).step == 4


def test_a_long_run_writes_a_checkpoint_every_ten_minutes_where_a_loss_is_told(progress: Progress) -> None:
    assert not ended_step(progress, 1, should_log=True).should_save
    progress.saved = time.monotonic() - CHECKPOINT_EVERY - 1
    assert not ended_step(progress, 2).should_save
    assert ended_step(progress, 3, should_log=True).should_save


def test_notes_are_added_and_each_is_said_once(studio: Studio, lease: Lease) -> None:
    for text in ("Two rows were left out.", "Stopped as asked.", "Two rows were left out."):
        note(lease, text)
    assert studio.job(lease.job_id).note == "Two rows were left out.\nStopped as asked."
