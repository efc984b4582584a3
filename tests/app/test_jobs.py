from dataclasses import fields, replace

import pytest
from sqlalchemy import update

from app import survey
from app.pages.wizard import Form
from app.services import jobs, planning, surveys
from app.services.jobs import Choice
from db import jobs as rows
from db.models import Job, Status, Survey
from db.session import session
from prolora.errors import PlanError


def test_the_form_has_the_fields_of_the_choice_in_their_order():
    assert Form._fields == tuple(field.name for field in fields(Choice))


def test_a_run_and_its_twin_differ_only_in_method_and_setting(choice):
    first, second = map(jobs.detail, jobs.start(choice))
    assert (first.plan.method, second.plan.method) == ("prolora", "lora")
    assert str(second.plan.setting) == "r=8"
    assert replace(second.plan, method="prolora", setting=first.plan.setting, alpha=first.plan.alpha) == first.plan
    assert first.plan.alpha / first.plan.setting.r == second.plan.alpha / second.plan.setting.r
    assert first.line.pair == second.line.pair
    assert len(first.peers) == 1
    assert first.peers[0].id == second.line.id
    assert abs(first.line.parameters - second.line.parameters) / second.line.parameters < 0.01


def test_jobs_are_committed_though_the_broker_does_not_answer(choice):
    ids = jobs.start(choice)
    assert [line.status for line in jobs.unfinished()] == ["queued", "queued"]
    assert [line.id for line in jobs.unfinished()] == ids


def test_without_a_twin_there_is_one_job(choice):
    (job_id,) = jobs.start(replace(choice, twin=False))
    assert jobs.detail(job_id).peers == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": None}, "Choose a dataset"),
        ({"dataset": 99}, "no dataset number 99"),
        ({"epochs": None}, "number of epochs is empty"),
        ({"budget": "3"}, "too small"),
        ({"budget": "10B"}, "full fine-tuning"),
        ({"learning_rate": float("inf")}, "learning rate is empty"),
        ({"batch_size": 0}, "batch size"),
    ],
)
def test_a_choice_that_cannot_be_starts_nothing_and_says_why(choice, change, words):
    with pytest.raises(PlanError, match=words):
        jobs.start(replace(choice, **change))
    assert jobs.listing() == []


def test_a_setting_of_another_budget_gives_way_to_the_best_of_this_one(choice):
    (job_id,) = jobs.start(replace(choice, budget="rank 4", twin=False))
    assert jobs.detail(job_id).plan.setting == planning.offer("demo", "rank 4").choices[0].setting


def test_a_queued_job_is_cancelled_at_once(choice):
    job_id = jobs.start(choice)[0]
    assert jobs.cancel(job_id)
    assert jobs.detail(job_id).line.status == "cancelled"
    assert not jobs.cancel(job_id)


def test_time_left_follows_the_steps(choice):
    job_id = jobs.start(replace(choice, twin=False))[0]
    with session() as s:
        lease = rows.claim(s, job_id, "somebody")
        assert lease is not None
        rows.progress(s, lease, step=10, total_steps=40, stage="Training", metrics={"loss": 1.5})
    line = jobs.detail(job_id).line
    assert line.started_at is not None
    later = line.started_at.replace(microsecond=0) + (jobs.now() - jobs.now())
    assert line.share == 0.25
    assert line.left(later) == pytest.approx(3 * line.seconds(later))
    (curve,) = jobs.curves([line])
    assert curve.points == ((10, 1.5),)


def test_the_log_is_shown_without_colours_and_overwritten_bars(choice):
    from db import files

    job_id = jobs.start(choice)[0]
    assert jobs.log_tail(job_id) == ""
    files.job_log(job_id).write_bytes(b"\x1b[31mred\x1b[0m\n10%\r50%\r100% done\nlast\n")
    assert jobs.log_tail(job_id) == "red\n100% done\nlast"


def test_another_persons_job_is_not_there(choice):
    from db.models import Person

    job_id = jobs.start(choice)[0]
    with session() as s:
        s.add(Person(id=2, name="somebody"))
        s.flush()
        job = s.get(Job, job_id)
        assert job is not None
        job.owner_id = 2
    with pytest.raises(jobs.JobError, match="no job number"):
        jobs.detail(job_id)
    assert Status.QUEUED in rows.MOVES


def test_peers_train_on_the_same_data_at_the_same_budget(choice):
    ids = jobs.start(replace(choice, peers=["prolora-unrotated", "clora", "tied-lora"]))
    found = [jobs.detail(job_id) for job_id in ids]
    assert [each.plan.method for each in found] == ["prolora", "lora", "prolora-unrotated", "clora", "tied-lora"]
    assert found[2].plan.setting == found[0].plan.setting
    assert found[4].plan.target_modules == ("q_proj", "k_proj", "v_proj")
    assert {each.plan.seed for each in found} == {1}
    assert all(abs(each.line.parameters - 155_648) < 0.01 * 155_648 for each in found)
    assert [peer.id for peer in found[0].peers] == ids[1:]


def test_a_method_may_be_trained_alone_and_a_method_named_twice_trains_once(choice):
    (only,) = jobs.start(replace(choice, method="vera", twin=False))
    assert jobs.detail(only).plan.method == "vera"
    assert len(jobs.start(replace(choice, method="lora", peers=["lora"]))) == 1


def test_a_method_that_the_budget_cannot_buy_starts_nothing_and_says_what_it_costs(choice):
    with pytest.raises(PlanError, match="too small"):
        jobs.start(replace(choice, budget="20k", peers=["prolora-dora"]))
    with pytest.raises(PlanError, match="no method called"):
        jobs.start(replace(choice, peers=["dreamlora"]))
    assert jobs.listing() == []


def test_the_summary_says_of_each_peer_what_it_trains_or_why_it_cannot(choice):
    made = planning.offer("demo", "20k")
    assert "parameters" in planning.fit_words(made, "", "clora")
    assert "too small" in planning.fit_words(made, "", "prolora-dora")


def count_lengths(dataset_id):
    surveys.ask(dataset_id, surveys.lengths_on("demo"))
    with session() as s:
        s.execute(update(Survey).values(state=surveys.RUNNING))
    survey.main(dataset_id, surveys.lengths_on("demo"))


def test_a_cut_off_that_leaves_nothing_to_train_is_refused_before_a_job_is_queued(choice):
    count_lengths(choice.dataset)
    lengths = surveys.lengths(choice.dataset, "demo")
    shortest, longest = int(lengths.before.min()), int(lengths.before.max())
    with pytest.raises(PlanError, match=f"No row would teach anything.*cut-off of {shortest} tokens"):
        jobs.start(replace(choice, max_length=shortest))
    assert jobs.listing() == []
    assert jobs.start(replace(choice, max_length=longest + 1))


def test_while_lengths_are_not_known_a_job_is_queued(choice):
    assert jobs.start(replace(choice, max_length=16))
