"""The estimate before a run, by numbers that are counted here and not by the code."""

import json
import time
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pages import forecast as page
from app.services import planning
from app.services.estimate import forecast, history, settings_that_fit
from app.services.estimate.disk import CHECKPOINTS, space
from app.services.estimate.memory import (
    LARGE,
    Calibration,
    Measured,
    Need,
    Verdict,
    calibrate,
    formula,
    need,
    training_of,
)
from app.services.estimate.pace import CPU_FLOPS, Speed, flops_a_token, flops_of, pace
from app.services.jobs import Choice
from db.models import OWNER, Job, Metric, Status, Worker, now
from db.session import session
from prolora import cli
from prolora.base_models import find
from prolora.budget import GIB
from prolora.errors import PlanError, StudioError
from prolora.plan import Plan, Setting
from worker import checkpoints

SEVEN = find("llama-2-7b").shapes
PLAN = Plan("prolora", Setting(32, 4, 7, 7), "llama-2-7b", dropout=0.1)
LORA = replace(PLAN, method="lora", setting=Setting.lora(8))
H100 = "NVIDIA H100 80GB HBM3"


def test_a_7b_base_in_nf4_takes_what_its_weights_take() -> None:
    counted = formula(PLAN, SEVEN, 512, H100)
    blocks = 6_476_005_376 // 64
    by_hand = 6_476_005_376 // 2 + blocks + 4 * blocks // 256 + 224 * 4 * 273 + 2 * (6_738_415_616 - 6_476_005_376)
    assert counted.weights == by_hand


def test_a_7b_lora_keeps_by_hand_what_the_formula_says() -> None:
    tokens, h, i = 16 * 512, 4096, 11008
    norms_and_gates = 8 * h + 6 * i
    attention = 2 * h + 2 * 3 * h + 4 * 32  # output, queries, keys, values; a number a head
    module = 3 * (6 * h + i) + 2 * 8 * 7  # an input in bfloat16 and its mask; r numbers
    factors = 2 * 8 * (4 * 2 * h + 3 * (h + i))
    assert formula(LORA, SEVEN, 512, H100).activations == 32 * (
        tokens * (norms_and_gates + attention + module) + factors
    )


def test_ours_keeps_less_than_the_lora_of_equal_budget() -> None:
    assert formula(PLAN, SEVEN, 512, H100).total < formula(LORA, SEVEN, 512, H100).total


def test_a_pass_is_a_part_of_the_batch_and_rows_are_as_long_as_the_longest() -> None:
    training = training_of(replace(PLAN, accumulation=4), 200, "cuda", gpus=2)
    assert (training.batch, training.length) == (2, 200)
    assert training_of(PLAN, 9000, "cuda").length == PLAN.max_length


@given(batch=st.integers(1, 64), length=st.integers(1, 512))
def test_packed_lines_never_hold_fewer_tokens_than_their_rows(batch: int, length: int) -> None:
    training = training_of(replace(PLAN, batch_size=batch, packing=True), length, "cuda")
    assert training.length <= PLAN.max_length
    assert training.tokens >= min(batch * length, training.batch * PLAN.max_length)


@given(
    batch=st.integers(1, 64),
    longer=st.integers(16, 4096),
    device=st.sampled_from([H100, "cpu"]),
    method=st.sampled_from(["prolora", "lora", "dora"]),
    checkpointing=st.booleans(),
)
def test_more_rows_or_longer_ones_never_take_less(
    batch: int, longer: int, device: str, method: str, checkpointing: bool
) -> None:
    plan = replace(
        PLAN if method == "prolora" else replace(LORA, method=method),
        batch_size=batch,
        max_length=4096,
        gradient_checkpointing=checkpointing,
    )
    known = Calibration(1.3, GIB, 1, 1)

    def total(plan: Plan, longest: int) -> int:
        return need(formula(plan, SEVEN, longest, device), device, known).total

    here = total(plan, longer)
    assert total(replace(plan, batch_size=batch + 1), longer) > here
    assert total(plan, longer - 1) <= here


def test_the_ratio_is_the_middle_one_of_large_runs_and_small_ones_tell_what_is_besides() -> None:
    small = [Measured(10**7, 10**7 + extra) for extra in (300 * 10**6, 400 * 10**6, 9 * 10**9)]
    large = [Measured(10**10, round(ratio * 10**10) + 400 * 10**6) for ratio in (1.1, 1.2, 7.0)]
    found = calibrate([*small, *large])
    assert (found.besides, found.ratio, found.small, found.large) == (400 * 10**6, pytest.approx(1.2), 3, 3)
    assert found.of(10**10) == pytest.approx(12.4 * 10**9)
    assert calibrate([]) == Calibration()


def test_small_runs_alone_leave_the_ratio_at_one() -> None:
    found = calibrate([Measured(LARGE // 100, LARGE // 2)])
    assert found.ratio == 1
    assert found.runs == 1


@pytest.mark.parametrize(
    ("memory_bytes", "verdict"),
    [(100, Verdict.TIGHT), (99, Verdict.TOO_LARGE), (111, Verdict.TIGHT), (112, Verdict.FITS)],
)
def test_the_verdict_leaves_a_tenth_of_the_card_free(memory_bytes: int, verdict: Verdict) -> None:
    assert Need(50, 20, 10, 15, 5).verdict(memory_bytes) == verdict


def test_a_run_that_failed_is_offered_smaller_passes_first_and_the_result_stays_as_it_is() -> None:
    plan = replace(PLAN, max_length=2048)
    offers = settings_that_fit(plan, 24 * GIB, 22 * GIB, "NVIDIA GeForce RTX 4090")
    assert offers
    assert (offers[0].plan.max_length, offers[0].plan.batch_size) == (2048, 16)
    assert offers[0].plan.accumulation > 1
    assert offers[0].words == f"{offers[0].plan.accumulation} passes a batch of 1 row each"
    assert offers[1].plan.gradient_checkpointing


@given(
    batch=st.integers(1, 64),
    length=st.integers(64, 4096),
    gib=st.integers(2, 80),
    reached=st.floats(0.05, 1.0),
    nothing=st.booleans(),
)
def test_nothing_is_offered_that_the_failed_run_says_does_not_fit(
    batch: int, length: int, gib: int, reached: float, nothing: bool
) -> None:
    plan = replace(PLAN, batch_size=batch, max_length=length, quantization="none")
    peak = None if nothing else round(reached * gib * GIB)
    failed = formula(plan, SEVEN, length, H100).total
    room = min(gib * GIB, peak or gib * GIB)
    for offer in settings_that_fit(plan, gib * GIB, peak, H100):
        taken = formula(offer.plan, SEVEN, offer.plan.max_length, H100).total
        assert taken < failed
        assert taken * max(1.0, (room - GIB) / failed) < room
        assert offer.words


def test_where_nothing_helps_nothing_is_offered() -> None:
    assert settings_that_fit(PLAN, 3 * GIB, None, H100) == ()


def test_the_nearest_run_tells_the_speed() -> None:
    ours = Speed("llama-2-7b", 7 * 10**9, PLAN, H100, 1, 1000.0)
    twin = replace(ours, plan=LORA, tokens_per_second=500.0)
    demo = Speed("demo", 7 * 10**6, replace(PLAN, base_model="demo"), H100, 1, 10**6)
    assert pace(PLAN, 7 * 10**9, H100, 1, [ours, twin, demo]).tokens_per_second == pytest.approx(1000)
    assert pace(PLAN, 7 * 10**9, H100, 1, [twin, demo]).tokens_per_second == pytest.approx(500)
    assert pace(PLAN, 14 * 10**9, H100, 1, [demo]).tokens_per_second == pytest.approx(500)
    assert pace(PLAN, 7 * 10**9, H100, 2, [ours]).tokens_per_second == pytest.approx(2000)
    assert pace(replace(PLAN, gradient_checkpointing=True), 7 * 10**9, H100, 1, [ours]).tokens_per_second == (
        pytest.approx(1000 * 2 / 3)
    )


def test_where_nothing_has_run_the_speed_is_a_rule_of_thumb_and_says_so() -> None:
    found = pace(PLAN, 7 * 10**9, H100, 1, [])
    assert (found.runs, found.off) == (0, 4.0)
    assert "rule of thumb" in found.why
    assert found.tokens_per_second == pytest.approx(0.25 * 989e12 / (4 * 7e9))
    assert flops_of("cpu") == CPU_FLOPS


def test_the_cpus_rule_is_that_of_the_benchmark() -> None:
    linear = 8 * (4 * 512 * 512 + 3 * 512 * 1376)
    measured = 2101 * flops_a_token(PLAN, linear + 2 * 8192 * 512)
    assert measured == pytest.approx(CPU_FLOPS, rel=0.03)


def test_the_disk_holds_two_checkpoints_and_one_that_is_written() -> None:
    found = space(PLAN, 1000, 50)
    assert found.checkpoints == 3 * 12_000 + 4000
    assert (found.kept, found.most) == (4100, 44_100)
    assert CHECKPOINTS == checkpoints.KEPT + 1


def add_worker(device: str, gib: int, seen: float = 0, gpus: int = 1) -> None:
    with session() as s:
        s.add(
            Worker(
                name=f"{device}-{gib}-{gpus}",
                host="here",
                device=device,
                memory_bytes=gib * GIB,
                gpus=gpus,
                version="1",
                state="idle",
                seen_at=now() - timedelta(seconds=seen),
            )
        )


def add_finished(dataset: int, plan: Plan, device: str, peak: int, speed: float) -> int:
    with session() as s:
        job = Job(
            owner_id=OWNER,
            dataset_id=dataset,
            name="done",
            plan=plan.to_json(),
            parameters=1,
            status=Status.SUCCEEDED,
            record={"device": device},
            peak_bytes=peak,
        )
        s.add(job)
        s.flush()
        s.add_all(Metric(job_id=job.id, name="tokens_per_second", step=step, value=speed) for step in (1, 2))
        return job.id


def test_without_a_worker_the_need_is_told_and_no_card(choice) -> None:
    found = forecast.of(choice)
    assert found.cards == ()
    assert found.need.total > found.need.weights > 0
    assert not found.rows.counted
    assert found.rows.tokens == found.rows.trained * choice.max_length


def test_each_card_gets_its_own_verdict_and_the_heaviest_run_counts(choice) -> None:
    add_worker(H100, 80)
    add_worker("NVIDIA T4", 16)
    large = replace(choice, base="llama-2-7b", batch_size=16, max_length=512)
    by_name = {each.card.name: each for each in forecast.of(large).cards}
    assert by_name[H100].verdict == Verdict.FITS
    assert by_name["NVIDIA T4"].verdict == Verdict.TOO_LARGE
    assert by_name["NVIDIA T4"].changes
    assert by_name["NVIDIA T4"].need == by_name[H100].need
    alone = forecast.of(replace(large, twin=False)).cards
    assert max(each.need.total for each in alone) < by_name[H100].need.total


def test_only_workers_with_the_devices_asked_for_count_and_those_last_seen_stand_in(choice) -> None:
    add_worker(H100, 80, seen=7200)
    (away,) = forecast.of(choice).cards
    assert not away.card.alive
    assert forecast.of(replace(choice, gpus=2, batch_size=16)).cards == ()
    add_worker("NVIDIA T4", 16)
    (there,) = forecast.of(choice).cards
    assert (there.card.name, there.card.alive) == ("NVIDIA T4", True)


def test_finished_runs_calibrate_memory_and_time(dataset, choice) -> None:
    add_worker(H100, 80)
    plan = replace(PLAN, max_length=512)
    counted = formula(plan, SEVEN, 512, H100).total
    for _ in range(3):
        add_finished(dataset, plan, H100, round(1.25 * counted), 1000.0)
    large = replace(choice, base="llama-2-7b", batch_size=16, max_length=512, twin=False)
    (card,) = forecast.of(large).cards
    assert card.calibration == Calibration(pytest.approx(1.25), 0, 3, 0)
    assert card.pace.tokens_per_second == pytest.approx(1000)
    rows = history.rows_of(dataset, "llama-2-7b", 512)
    assert card.seconds == pytest.approx(6 * rows.trained * 512 / 1000)


@pytest.mark.parametrize(("base", "checkpointing"), [("llama-2-7b", False), ("demo", False), ("llama-3.1-8b", True)])
def test_page_and_command_say_the_same_memory(
    choice: Choice, capsys: pytest.CaptureFixture[str], base: str, checkpointing: bool
) -> None:
    more = ["--checkpointing"] if checkpointing else []
    cli.main(["plan", "--model", base, "--budget", "rank 8", "--batch", "16", "--length", "512", "--json", *more])
    for said in json.loads(capsys.readouterr().out):
        setting = Setting(*(said[letter] for letter in "rumn"))
        offered = replace(choice, base=base, setting=planning.key_of(setting), max_length=512, twin=False)
        heaviest = replace(forecast.of(offered).heaviest, gradient_checkpointing=checkpointing)
        assert heaviest.setting == setting
        assert said["training_bytes"] == formula(heaviest, find(base).shapes, 512, H100).total
        if not checkpointing:
            assert said["training_bytes"] == pytest.approx(forecast.of(offered).need.total - GIB)


def test_what_cannot_be_a_run_is_told(choice) -> None:
    with pytest.raises(PlanError, match="Choose a dataset"):
        forecast.of(replace(choice, dataset=None))
    with pytest.raises(StudioError, match="no dataset number 99"):
        forecast.of(replace(choice, dataset=99))


def test_the_page_says_in_words_what_the_bar_shows(dataset, choice) -> None:
    large = replace(choice, base="llama-2-7b", batch_size=16, max_length=512)
    values = [getattr(large, field.name) for field in fields(Choice)]
    assert "No worker has reported a device yet" in page.estimate(*values)
    add_worker(H100, 80)
    add_worker("NVIDIA T4", 16)
    shown = page.estimate(*values)
    assert "it fits." in shown
    assert "takes most of the 2 runs: it does not fit. It fits with 8 passes a batch of 2 rows each" in shown
    assert "By the formula alone" in shown
    assert shown.count("Beyond the card") == 1
    add_finished(dataset, LORA, H100, formula(LORA, SEVEN, 512, H100).total, 1000.0)
    assert "Set right by 1 finished run on such devices: large ones took 1.00 times" in page.estimate(*values)


def test_the_page_names_what_keeps_it_from_an_estimate(choice) -> None:
    values = [getattr(replace(choice, budget="much"), field.name) for field in fields(Choice)]
    assert "“much” is not a budget" in page.estimate(*values)


def test_an_estimate_is_there_at_once_beside_the_longest_history_it_looks_at(dataset, choice) -> None:
    add_worker(H100, 80)
    for _ in range(history.REMEMBERED):
        job_id = add_finished(dataset, PLAN, H100, GIB, 1000.0)
        with session() as s:
            s.add_all(Metric(job_id=job_id, name="tokens_per_second", step=step, value=1.0) for step in range(3, 300))
    forecast.of(choice)
    took = []
    for _ in range(5):
        began = time.perf_counter()
        forecast.of(choice)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.1
