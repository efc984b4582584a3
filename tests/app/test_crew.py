"""Which workers the launcher starts, on a machine with two cards as its nvidia-smi tells."""

from pathlib import Path

import pytest

from app.__main__ import family, stop
from app.crew import CrewError, posts
from db.settings import Settings
from prolora.devices import cards

LISTING = "0, GPU-aaaa-1, 81559, NVIDIA H100 80GB HBM3\n1, GPU-bbbb-2, 24564, NVIDIA GeForce RTX 4090\n"


@pytest.fixture
def two_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{LISTING}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cards.cache_clear()
    yield
    cards.cache_clear()


def pins(wanted: str) -> list[tuple[str, str | None, str | None]]:
    return [(p.name, p.env.get("CUDA_VISIBLE_DEVICES"), p.env.get("STUDIO_GPUS")) for p in posts(wanted)]


def test_without_a_word_there_is_a_worker_for_each_card_and_each_sees_its_own(two_cards):
    assert pins("") == [("worker-1", "GPU-aaaa-1", "1"), ("worker-2", "GPU-bbbb-2", "1")]


def test_a_worker_may_own_several_cards_and_another_none(two_cards):
    assert pins("0,1 cpu cpu,cpu") == [("worker-1", "0,1", "2"), ("worker-2", "", "1"), ("worker-3", "", "2")]
    assert pins("1") == [("worker", "1", "1")]


def test_on_a_machine_without_cards_there_is_one_worker():
    cards.cache_clear()
    assert pins("") == [("worker", None, None)]


@pytest.mark.parametrize(("wanted", "said"), [("0 2", "does not list all"), ("0;1", "a word for each worker")])
def test_what_is_not_there_is_refused_before_anything_starts(two_cards, wanted, said):
    with pytest.raises(CrewError, match=said):
        posts(wanted)


def test_every_worker_is_a_child_with_a_log_and_a_name_of_its_own(two_cards, studio, tmp_path):
    children = family(Settings(workers="0 1"), tmp_path)
    ours = [child for child in children if child.name.startswith("worker-")]
    assert [child.command[2:] for child in ours] == [
        ["worker", "--hostname", "worker-1@%h"],
        ["worker", "--hostname", "worker-2@%h"],
    ]
    assert [child.log.name for child in ours] == ["worker-1.log", "worker-2.log"]
    assert [child.env["CUDA_VISIBLE_DEVICES"] for child in ours] == ["0", "1"]
    stop({child.name: child for child in children})  # none was started
