from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from app.main import create_app
from app.pages import filling
from app.pages.jobview import more_html
from app.services import jobs, runfiles
from db.models import Dataset, Job
from db.session import session
from prolora import runfile
from prolora.errors import PlanError, StudioError


@pytest.fixture
def job_id(choice):
    """A job with what no field of the wizard asks."""
    (made,) = jobs.start(replace(choice, twin=False, gpus=1, gradient_checkpointing=True, accumulation=2))
    plan = {**jobs.detail(made).plan.to_json(), "alpha": 48.0, "packing": True, "dropout": 0.05}
    with session() as s:
        s.execute(update(Job).where(Job.id == made).values(plan=plan, record={"code": "0.1.0+abc", "host": "secret"}))
    return made


def test_a_run_that_is_exported_and_imported_is_started_with_the_very_same_plan(job_id):
    text = runfiles.export(job_id)
    assert "secret" not in text
    brought = runfiles.bring(text.encode())
    assert brought.notes == ()
    (again,) = jobs.start(brought.choice)
    assert jobs.detail(again).plan == jobs.detail(job_id).plan
    assert jobs.detail(again).line.name == "Tickets"
    assert jobs.detail(again).line.dataset_id == jobs.detail(job_id).line.dataset_id


def test_what_is_changed_in_the_form_is_changed_and_the_rest_is_as_in_the_file(job_id):
    brought = runfiles.bring(runfiles.export(job_id).encode())
    (again,) = jobs.start(replace(brought.choice, learning_rate=1e-4, seed=9))
    assert jobs.detail(again).plan == replace(jobs.detail(job_id).plan, learning_rate=1e-4, seed=9)


def test_a_missing_dataset_is_told_with_where_it_came_from(job_id):
    text = runfiles.export(job_id)
    with session() as s:
        s.execute(update(Dataset).values(content_hash="c" * 64))
    brought = runfiles.bring(text.encode())
    assert brought.choice.dataset is None
    assert "Tickets” is not here: no kept dataset has the same rows. Bring in tickets.jsonl" in brought.notes[0]
    assert "The same file was kept as dataset 1, read otherwise." in brought.notes[0]
    with pytest.raises(PlanError, match="Choose a dataset first"):
        jobs.start(brought.choice)


def test_a_dataset_of_the_hub_is_told_with_its_commit(job_id):
    hub = {"name": "owner/rows", "config": "default", "split": "train", "revision": "d" * 40, "files": [], "size": 1}
    with session() as s:
        s.execute(update(Dataset).values(report={"hub": hub}))
    text = runfiles.export(job_id)
    with session() as s:
        s.execute(update(Dataset).values(content_hash="c" * 64))
    wanted = f"Fetch owner/rows from the hub: config default, split train, revision {'d' * 40}."
    assert wanted in runfiles.bring(text.encode()).notes[0]


def test_a_missing_base_is_told_and_the_form_is_filled_all_the_same(job_id):
    text = runfiles.export(job_id).replace("base_model: demo", "base_model: /nowhere/llama")
    brought = runfiles.bring(text.encode())
    assert "no base model called “/nowhere/llama”" in brought.notes[0]
    assert (brought.choice.base, brought.choice.epochs) == ("/nowhere/llama", 6)
    with pytest.raises(StudioError, match="no base model called"):
        jobs.start(brought.choice)


def test_a_plan_in_the_form_that_was_tampered_with_is_refused(job_id):
    brought = runfiles.bring(runfiles.export(job_id).encode())
    for like, words in (("{", "YAML"), ("[]", "fields with names"), ('{"evil": 1}', "`plan.evil` is not known")):
        with pytest.raises(StudioError, match=words):
            jobs.start(replace(brought.choice, like=like))


def test_the_page_fills_every_field_and_reads_no_more_than_a_run_needs(job_id, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(runfiles.export(job_id))
    *fields, base, words, _ = filling.bring(str(file))
    assert len(fields) == len(jobs.Choice.__dataclass_fields__)
    assert "Demo shop support" in base
    assert "“Tickets”" in words
    file.write_bytes(b"#" * (4 * runfile.LARGEST))
    with pytest.raises(Exception, match="more than 256 KB"):
        filling.bring(str(file))


def test_a_jobs_page_offers_its_file_and_the_line_that_runs_it_again(job_id):
    page = more_html(jobs.detail(job_id))
    assert f'href="/download/job/{job_id}/run.yaml"' in page
    assert f"python -m worker.reproduce {job_id}<" in page
    client = TestClient(create_app(), base_url="http://localhost")
    answer = client.get(f"/download/job/{job_id}/run.yaml")
    assert runfile.read(answer.content).plan == jobs.detail(job_id).plan
    assert answer.headers["content-disposition"] == f'attachment; filename="job-{job_id}-run.yaml"'
    assert client.get("/download/job/99/run.yaml").status_code == 404
