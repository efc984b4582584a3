from dataclasses import replace

import pytest

from app.services import batches, jobs, presets
from app.services.presets import Preset
from db.models import Worker
from db.session import session
from prolora.errors import PlanError


@pytest.fixture
def preset(dataset):
    return Preset("table-2", "codealpaca", dataset, "demo", steps=40, seeds=(1, 2))


def test_a_table_of_the_paper_becomes_one_batch(preset):
    batch_id, ids = presets.start(preset)
    batch = batches.overview(batch_id)
    assert batch.name == "Table 2: CodeAlpaca for HumanEval"
    assert [line.id for line in batch.lines] == ids
    assert len(ids) == presets.outlook(preset).jobs == 30
    first = jobs.detail(ids[0])
    assert first.line.name == "LoRA r=2, 5e-05, seed 1"
    assert (first.plan.learning_rate, first.plan.dropout, first.plan.alpha, first.plan.max_length) == (
        5e-5,
        0.1,
        16,
        512,
    )
    assert {jobs.detail(job_id).plan.seed for job_id in ids} == {1, 2}


def test_hours_are_told_once_a_worker_is_known(preset):
    assert presets.outlook(preset).hours is None
    with session() as s:
        s.add(Worker(name="w", host="h", device="cpu", memory_bytes=2**33, gpus=1, version="1", state="idle"))
    seen, longer = presets.outlook(preset), presets.outlook(replace(preset, steps=80))
    assert seen.device == "cpu"
    assert 0 < seen.hours < longer.hours


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": None}, "Choose a dataset"),
        ({"recipe": "table-9"}, "no recipe called “table-9”"),
        ({"recipe": "table-3"}, "Table 3 has no runs on CodeAlpaca"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": tuple(range(20))}, "300 jobs; a batch holds at most 200"),
        ({"steps": None}, "at least one step"),
        ({"steps": 10_000_000}, "epochs must be at most 1000"),
    ],
)
def test_a_preset_that_cannot_be_starts_nothing_and_says_why(preset, change, words):
    with pytest.raises(PlanError, match=words):
        presets.start(replace(preset, **change))
    assert jobs.listing() == []
    assert batches.listing() == []
