from dataclasses import astuple, fields, replace

import pytest

from app.pages import presets as page
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


def test_the_form_has_the_fields_of_a_preset_in_their_order():
    assert page.Form._fields == tuple(field.name for field in fields(Preset))


def test_the_page_tells_jobs_and_sources_before_anything_is_started(preset):
    about, button = page.summary(*astuple(preset))
    assert '<span title="Appendix A.2, Finetuning Setup: best on HumanEval">5e-05</span>' in about
    assert "(8, 1, 7, 7)" in about
    assert "Section 4.2: rank, unshared rank and rates" in about
    assert "The paper trained llama-2-7b" in about
    assert button.interactive
    about, button = page.summary(*astuple(replace(preset, dataset=None)))
    assert "Choose a dataset first" in about
    assert not button.interactive


def test_another_table_offers_its_own_base_and_tasks(preset):
    tasks, base = page.choose("table-3")
    assert base == "llama-2-13b"
    assert [name for _, name in tasks.choices] == ["superni", "flan", "cot"]


def test_the_page_starts_the_batch_and_says_that_no_worker_is_there(preset):
    done, button = page.start(*astuple(preset))
    assert "All 30 jobs are queued. No worker is there now." in done
    assert 'href="/batch?id=1"' in done
    assert not button.interactive
