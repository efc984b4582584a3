"""Jobs that are repeated, copied, hurried, chained and refused."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from app.services import jobs, planning
from app.services.jobs import JobError
from db import files
from db import jobs as rows
from db.models import Dataset, Job, Status, Worker, now
from db.session import session
from prolora.budget import count
from prolora.errors import PlanError, StudioError
from prolora.plan import Setting


def one(choice, **change):
    (job_id,) = jobs.start(replace(choice, twin=False, **change))
    return job_id


def end(job_id, status=Status.FAILED, **values):
    with session() as s:
        lease = rows.claim(s, job_id, "somebody")
        assert lease is not None
        rows.move(s, lease, status)
        s.execute(update(Job).where(Job.id == job_id).values(**values or {"error": None}))


def row(job_id):
    with session() as s:
        return s.get_one(Job, job_id)


def add_worker(**values):
    usual = {"host": "h", "device": "cpu", "memory_bytes": 2**34, "gpus": 1, "version": "1", "state": "idle"}
    with session() as s:
        s.add(Worker(name=f"w{values}", **{**usual, **values}))


def test_a_job_is_repeated_with_the_same_plan_beside_its_twin(choice):
    first, twin = jobs.start(choice)
    end(first)
    again = row(jobs.retry(first))
    assert (again.plan, again.origin_id, again.pair) == (row(first).plan, first, row(first).pair)
    assert [peer.id for peer in jobs.detail(twin).peers] == [again.id]
    assert [peer.id for peer in jobs.detail(again.id).peers] == [twin]
    assert jobs.detail(first).successor == again.id


def test_a_job_that_has_not_ended_is_not_repeated(choice):
    with pytest.raises(JobError, match="not ended yet"):
        jobs.retry(one(choice))


def test_a_copy_of_a_job_trains_the_same_but_for_what_was_changed(choice):
    job_id = one(choice)
    with session() as s:
        plan = {**s.get_one(Job, job_id).plan, "b_lr_ratio": 16.0, "alpha": 5.0}
        s.execute(update(Job).where(Job.id == job_id).values(plan=plan))
    asked = jobs.choice_of(job_id)
    same, other = jobs.detail(one(asked)), jobs.detail(one(asked, seed=7))
    assert same.plan == jobs.detail(job_id).plan
    assert other.plan == replace(same.plan, seed=7)
    assert same.line.origin_id == job_id


@pytest.mark.parametrize("method", ["lora", "vera", "prolora-dora", "clora", "tied-lora"])
def test_a_copy_of_any_method_has_its_setting(choice, method):
    job_id = one(choice, method=method)
    assert jobs.detail(one(jobs.choice_of(job_id))).plan == jobs.detail(job_id).plan


def test_a_setting_that_costs_exactly_the_budget_is_kept_though_it_is_not_suggested(choice):
    exact = count(Setting(20, 8, 3, 3), planning.offer("demo", "rank 8").base.shapes)
    made = planning.offer("demo", str(exact))
    assert "20,8,3,3" not in [planning.key_of(each.setting) for each in made.choices]
    assert [str(each.setting) for each in made.cards("20,8,3,3")][-1] == "(20, 8, 3, 3)"
    assert str(jobs.detail(one(choice, budget=str(exact), setting="20,8,3,3")).plan.setting) == "(20, 8, 3, 3)"


def test_a_queued_job_is_moved_up_and_down_the_queue(choice):
    first, second = one(choice), one(choice)
    assert jobs.detail(second).ahead == 1
    assert jobs.sooner(second) == 1
    assert (jobs.detail(second).ahead, jobs.detail(first).ahead) == (0, 1)
    jobs.later(second)
    jobs.later(second)
    assert jobs.detail(first).ahead == 0
    with session() as s:
        assert rows.claim_next(s, "a worker").job_id == first
    with pytest.raises(JobError, match="waits no longer"):
        jobs.sooner(first)


def test_only_a_running_job_can_be_stopped_and_kept(choice):
    job_id = one(choice)
    with pytest.raises(JobError, match="nothing to keep"):
        jobs.stop_and_keep(job_id)
    with session() as s:
        lease = rows.claim(s, job_id, "somebody")
    jobs.stop_and_keep(job_id)
    with session() as s:
        assert rows.wishes(s, lease).stop
    assert jobs.detail(job_id).line.stop_requested


def test_a_chained_job_waits_and_its_repetition_waits_for_the_repetition(choice):
    first = one(choice)
    second = one(choice, after=first)
    end(first)
    with session() as s:
        rows.sweep(s, now())
    assert jobs.detail(second).line.reason == "waited"
    with pytest.raises(PlanError, match="cannot be waited for"):
        jobs.retry(second)
    with pytest.raises(PlanError, match="cannot be waited for"):
        one(choice, after=first)
    again = jobs.retry(first)
    assert row(jobs.retry(second)).after_id == again


def test_twins_do_not_wait_for_one_another(choice):
    assert [row(job_id).after_id for job_id in jobs.start(choice)] == [None, None]


def test_a_dataset_whose_rows_are_gone_is_refused(choice):
    job_id = one(choice)
    end(job_id)
    with session() as s:
        digest = s.get_one(Dataset, choice.dataset).content_hash
    files.dataset_rows(digest).unlink()
    for attempt in (lambda: one(choice), lambda: jobs.retry(job_id)):
        with pytest.raises(PlanError, match="rows of “Tickets” are gone"):
            attempt()


def test_a_base_folder_that_cannot_be_read_is_refused(choice, tmp_path):
    (tmp_path / "base").mkdir()
    with pytest.raises(StudioError, match=r"no config\.json"):
        one(choice, base=str(tmp_path / "base"))


def test_a_rank_over_the_narrowest_layer_is_refused(choice):
    with pytest.raises(PlanError, match="more than k_proj is wide"):
        one(choice, budget="rank 160", method="lora")
    assert jobs.listing() == []


def test_more_devices_than_any_worker_has_are_refused_but_no_worker_at_all_is_not(choice):
    assert one(choice, gpus=4)
    add_worker(gpus=2)
    add_worker(gpus=8, state="stopped")
    add_worker(gpus=8, seen_at=now() - 2 * rows.lease_time())
    with pytest.raises(PlanError, match="largest here has 2"):
        one(choice, gpus=4)
    assert row(one(choice, gpus=2)).gpus == 2


def test_a_batch_that_devices_cannot_share_is_refused(choice):
    with pytest.raises(PlanError, match="multiple of passes times devices"):
        one(choice, batch_size=15, gpus=2)


GIB, MIB = 2**30, 2**20


def test_after_memory_ran_out_the_copy_needs_less_and_trains_the_same(choice):
    job_id = one(choice)
    end(job_id, reason="out-of-memory", peak_bytes=2 * GIB, record={"device": "card", "device_bytes": 2 * GIB})
    asked, words = jobs.fitted_choice(job_id)
    before, after = jobs.detail(job_id).plan, jobs.detail(one(asked)).plan
    assert after.accumulation > 1
    assert replace(after, accumulation=1, gradient_checkpointing=False) == before
    assert f"{after.accumulation} passes" in words


def test_a_cut_off_falls_only_where_nothing_else_helps_and_at_last_the_base_is_too_large(choice):
    job_id = one(choice, batch_size=1)
    end(job_id, reason="out-of-memory", record={"device": "card", "device_bytes": GIB + 8 * MIB})
    asked, words = jobs.fitted_choice(job_id)
    assert asked.max_length < choice.max_length
    assert "a cut-off of" in words
    with session() as s:
        s.execute(update(Job).where(Job.id == job_id).values(record={"device": "card", "device_bytes": GIB + MIB}))
    with pytest.raises(PlanError, match="smaller base model"):
        jobs.fitted_choice(job_id)


def test_where_the_job_recorded_no_device_the_largest_worker_is_asked(choice):
    job_id = one(choice)
    end(job_id, reason="out-of-memory")
    with pytest.raises(PlanError, match="no worker is there to ask"):
        jobs.fitted_choice(job_id)
    add_worker(memory_bytes=2 * GIB)
    assert jobs.fitted_choice(job_id)[0].accumulation > 1


def test_jobs_are_found_by_state_method_dataset_and_words(choice):
    first, twin = jobs.start(replace(choice, name="100% tickets"))
    other = one(choice, name="letters")
    end(other)

    def found(**wanted):
        return [line.id for line in jobs.listing(jobs.Filter(**wanted))]

    assert found() == [other, twin, first]
    assert found(state="failed") == [other]
    assert found(method="lora") == [twin]
    assert found(text="100%") == [twin, first]
    assert found(text="%") == [twin, first]
    assert found(dataset=choice.dataset, state="queued", method="prolora") == [first]
    assert found(dataset=99) == found(batch=1) == []
    assert jobs.total(jobs.Filter(state="queued")) == 2
