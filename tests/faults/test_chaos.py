"""The chaos of bench/chaos.py, short, from a seed; and the recorded long run."""

import json
from itertools import takewhile
from pathlib import Path

import pytest

from bench.audit import Verdict
from bench.chaos import RESULTS, VICTIMS, Run, blows, play
from bench.submit import probe
from db.settings import settings

SHORT = Run(seed=4, jobs=40, workers=3, blow_every=2.0, blows_for=15.0, longest_outage=3.0, pause=0.1, patience=240.0)


@pytest.fixture
def _own_settings(monkeypatch: pytest.MonkeyPatch):
    """What a run sets is put back."""
    for name in ("DATA", "DATABASE_URL", "REDIS_URL", "LEASE_SECONDS", "RENEW_SECONDS"):
        monkeypatch.setenv(f"STUDIO_{name}", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    settings.cache_clear()


@pytest.mark.usefixtures("_own_settings")
def test_forty_jobs_end_once_each_while_all_that_carries_them_is_killed(tmp_path: Path) -> None:
    told = play(SHORT, tmp_path)
    verdict = Verdict(**told["verdict"])
    assert verdict.jobs == SHORT.jobs
    assert verdict.faults == []
    assert told["orphans"] == []
    assert sum(told["kills"].values()) >= 3
    assert verdict.endings["succeeded"] > SHORT.jobs / 2


def test_a_seed_gives_the_same_blows_and_the_same_jobs() -> None:
    first, again = ([blow for _, blow in zip(range(200), blows(SHORT), strict=False)] for _ in range(2))
    assert first == again
    assert {blow.victim for blow in first} == set(VICTIMS)
    assert [probe(4, n) for n in range(40)] == [probe(4, n) for n in range(40)] != [probe(5, n) for n in range(40)]


def test_in_the_recorded_run_a_thousand_jobs_ended_once_each() -> None:
    told = json.loads(RESULTS.read_text())
    verdict = Verdict(**told["verdict"])
    assert (told["run"]["jobs"], told["run"]["workers"]) == (verdict.jobs, 8) == (1000, 8)
    assert verdict.faults == told["orphans"] == []
    assert sum(verdict.endings.values()) == 1000
    dealt = {blow.victim for blow in takewhile(lambda blow: blow.at < told["seconds"], blows(Run(**told["run"])))}
    assert dealt == set(told["kills"]) == set(VICTIMS)
