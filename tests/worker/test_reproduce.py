"""Runs done again from their record."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import update

from db import files, runs
from db.models import OWNER, Dataset, Job, Metric, Status
from db.session import session
from prolora import runfile
from prolora.dataset import read_rows, write_rows
from prolora.dataset.records import hash_of
from prolora.runfile import Results
from tests.worker.conftest import TEXTS, Studio, rows_of
from worker import reproduce, tasks
from worker.likeness import compare
from worker.reproduce import DIFFERENT, REFUSED, SAME


@pytest.fixture
def honest(studio: Studio) -> Studio:
    """The studio with a dataset that is named by its true hash."""
    rows = rows_of(TEXTS)
    digest = hash_of(rows)
    with files.write_aside(files.dataset_dir(digest)) as folder:
        write_rows(folder / "rows.jsonl", rows)
    with session() as s:
        dataset = Dataset(
            owner_id=OWNER,
            name="prices",
            source_name="prices.jsonl",
            source_hash="6" * 64,
            content_hash=digest,
            form="alpaca",
            mapping={},
            kept=len(rows),
            rejected=0,
            held_out=4,
        )
        s.add(dataset)
    return dataclasses.replace(studio, dataset_id=dataset.id)


def again(*words: str) -> tuple[int, list[str]]:
    said: list[str] = []
    return reproduce.main(words, said.append), said


def ended(studio: Studio) -> int:
    """A job that looks as if it had run, without the wait."""
    job_id = studio.submit(studio.plan())
    record = {"code": "another", "versions": {}, "device": "cpu", "base_revision": "0" * 64}
    with session() as s:
        s.execute(update(Job).where(Job.id == job_id).values(status=Status.SUCCEEDED, record=record))
        s.add(Metric(job_id=job_id, name="loss", step=1, value=2.0))
    return job_id


def exported(job_id: int, target: Path) -> Path:
    with session() as s:
        target.write_text(runfile.write(runs.facts(s, s.get_one(Job, job_id))))
    return target


def jobs_of(studio: Studio) -> Sequence[int]:
    with session() as s:
        return [job.id for job in s.query(Job).order_by(Job.id)]


def test_a_run_done_again_has_the_same_losses_and_scores(honest: Studio, tmp_path: Path) -> None:
    first = honest.submit(honest.plan(dropout=0.1))
    tasks.run_job(first)
    code, said = again(str(first))
    assert said[-1] == "The run was reproduced."
    assert code == SAME
    assert any("step" in line and "loss" in line for line in said)
    second = jobs_of(honest)[-1]
    assert (honest.job(second).origin_id, honest.job(second).status) == (first, Status.SUCCEEDED)
    with session() as s:
        ours, theirs = runs.results(s, second), runs.results(s, first)
    assert theirs["losses"].keys() == ours["losses"].keys()
    assert all(abs(ours["losses"][step] - value) <= 1e-5 for step, value in theirs["losses"].items())
    assert honest.adapter(second).content_hash == honest.adapter(first).content_hash

    other = exported(first, tmp_path / "run.yaml").read_text().replace("  scores:", "  scores:\n    made_up: 0.5")
    assert reproduce.conclude(runfile.read(other.encode()), second, said.append) == DIFFERENT
    assert said[-2:] == [
        "Held-out scores: 5 compared, largest difference inf (made_up).",
        "The run was not reproduced.",
    ]


def test_a_run_of_another_base_code_and_versions_is_refused_with_each_difference(honest: Studio) -> None:
    code, said = again(str(ended(honest)))
    assert code == REFUSED
    assert said[0].startswith(f"The base model {honest.base} is ")
    assert "The studio's code is" in said[1]
    assert any(line.startswith("torch is") and line.endswith("it was the record does not say.") for line in said)
    assert said[-1].endswith("add --anyway.")
    assert len(jobs_of(honest)) == 1


def test_rows_that_were_changed_or_are_gone_are_refused(honest: Studio, tmp_path: Path) -> None:
    job_id = ended(honest)
    file = exported(job_id, tmp_path / "run.yaml")
    with session() as s:
        rows = files.dataset_rows(s.get_one(Dataset, honest.dataset_id).content_hash)
    write_rows(rows, [*read_rows(rows)][1:])
    assert again(str(file))[1][0] == f"The rows in {rows} were changed."
    rows.unlink()
    code, said = again(str(file), "--anyway")
    assert code == REFUSED
    assert said == [
        "The rows of “prices” are not here. "
        f"Bring in prices.jsonl (SHA-256 {'6' * 64}) on the Datasets page, read as it was then."
    ]


@pytest.mark.parametrize(
    ("source", "words"),
    [("77", "no training job number 77"), ("nowhere.yaml", "nowhere.yaml cannot be read: No such file")],
)
def test_what_is_no_run_is_refused(studio: Studio, source: str, words: str) -> None:
    code, said = again(source)
    assert code == REFUSED
    assert words in said[0]


def test_a_run_that_has_not_ended_is_refused(studio: Studio) -> None:
    code, said = again(str(studio.submit(studio.plan())))
    assert (code, "has not ended yet" in said[0]) == (REFUSED, True)


def test_a_loss_that_is_not_there_any_more_is_a_difference() -> None:
    before = Results(2, 2, {1: 1.0, 2: 0.5}, {"loss": 0.5})
    assert compare(before, before).same
    assert compare(before, Results(2, 2, {1: 1.0}, {"loss": 0.5})).losses.size == float("inf")
    assert not compare(before, Results(2, 2, {1: 1.0, 2: 0.5}, {})).same


def test_of_a_run_that_was_stopped_only_the_common_steps_count() -> None:
    stopped = Results(3, 9, {1: 1.0, 3: 0.5}, {"loss": 0.7})
    found = compare(stopped, Results(9, 9, {1: 1.0, 2: 0.8}, {"loss": 0.2}))
    assert found.scores is None
    assert (found.same, found.losses.compared) == (True, 1)
