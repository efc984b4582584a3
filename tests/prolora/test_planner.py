import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prolora.base_models import CATALOGUE, Linear, Shapes, find
from prolora.budget import bytes_of, count, keeps_every_chunk, parse_budget
from prolora.errors import PlanError
from prolora.plan import PROJECTIONS, Setting
from prolora.planner import MAX_RANK, BudgetTooLarge, BudgetTooSmall, Facts, Suggestions, suggest

SEVEN = find("llama-2-7b").shapes
DEMO = find("demo").shapes


def chosen(shapes: Shapes, budget: str, **options: object) -> list[str]:
    found = suggest(Facts(shapes, parse_budget(budget, shapes), **options))
    return [str(suggestion.setting) for suggestion in found.prolora]


@pytest.mark.parametrize(
    ("budget", "first", "strict"),
    [
        ("5.00M", ["(8, 1, 7, 7)", "(9, 1, 8, 8)", "(7, 1, 6, 6)"], ["(9, 1, 8, 8)"]),
        ("19.99M", ["(32, 4, 7, 7)", "(32, 5, 9, 9)", "(32, 6, 13, 13)"], ["(29, 5, 8, 8)", "(36, 4, 8, 8)"]),
        ("39.98M", ["(64, 8, 7, 7)", "(64, 10, 9, 9)", "(64, 12, 13, 13)"], ["(65, 9, 8, 8)"]),
    ],
)
def test_the_first_choices_are_those_of_the_table(budget: str, first: list[str], strict: list[str]) -> None:
    assert chosen(SEVEN, budget)[: len(first)] == first
    assert chosen(SEVEN, budget, divisible=True)[: len(strict)] == strict


@pytest.mark.parametrize("base", ["llama-2-13b", "llama-2-70b", "demo"])
@pytest.mark.parametrize(("budget", "first"), [("rank 2", "(8, 1, 7, 7)"), ("rank 8", "(32, 4, 7, 7)")])
def test_other_bases_get_the_same_choice_for_the_same_rank(base: str, budget: str, first: str) -> None:
    assert chosen(find(base).shapes, budget)[0] == first


def test_a_budget_near_a_whole_rank_means_that_rank() -> None:
    assert Facts(SEVEN, 19_990_000).rho == 8
    assert Facts(SEVEN, 20_100_000).rho == pytest.approx(8.0446, abs=1e-4)
    assert Facts(DEMO, 156_000).rho == 8  # within 1 %, the tolerance of narrow models


def test_the_tolerance_is_a_tenth_of_a_per_cent_or_one_per_cent_for_narrow_models() -> None:
    assert Facts(SEVEN, 5_000_000).spread == 0.001
    assert Facts(DEMO, 155_648).spread == 0.01
    assert Facts(DEMO, 155_648, tolerance=0.002).spread == 0.002
    for tolerance, percent in ((0.5, "50%"), (0.0504, "5.04%"), (float("nan"), "nan%")):
        with pytest.raises(PlanError, match=f"tolerance.*not {percent}"):
            Facts(DEMO, 155_648, tolerance=tolerance)


def test_the_note_names_the_tolerance_as_it_is() -> None:
    note = suggest(Facts(find("qwen2.5-0.5b").shapes, 560_100, divisible=True, tolerance=0.0005)).note
    assert "Nothing lies within 0.05% of the budget" in note


def test_under_two_lora_ranks_nothing_can_be_unshared_and_the_note_says_so() -> None:
    found = suggest(Facts(DEMO, 35_000))
    assert {suggestion.setting.u for suggestion in found.prolora} == {0}
    assert "without unshared ranks" in found.note


def test_under_one_lora_rank_the_smallest_budget_is_named() -> None:
    with pytest.raises(BudgetTooSmall, match="19\u2009456"):
        suggest(Facts(DEMO, 12_345))


def test_more_than_full_fine_tuning_is_refused() -> None:
    with pytest.raises(BudgetTooLarge, match="3\u2009410\u2009176"):
        suggest(Facts(DEMO, 3_410_177))
    assert suggest(Facts(DEMO, 3_410_176)).prolora


def test_where_nothing_lies_within_the_tolerance_the_nearest_below_is_given() -> None:
    facts = Facts(SEVEN, 2_600_003, tolerance=0.0)
    found = suggest(facts)
    assert "Nothing lies within 0% of the budget, so these are the nearest below it" in found.note
    assert found.prolora[0].parameters == max(parameters for parameters in every_count(SEVEN, facts.budget))


def every_count(shapes: Shapes, most: int) -> list[int]:
    """All counts of settings with u = 0 or 1 and distinct rolls, by the slow way."""
    unit, widths = shapes.lora_unit(), {w for linear in shapes.linears for w in (linear.inputs, linear.outputs)}
    counts = []
    for m in (m for m in range(2, MAX_RANK + 1) if keeps_every_chunk(m, widths)):
        chunk = shapes.layers * sum(-(-x.inputs // m) - (-x.outputs // m) for x in shapes.linears)
        counts += [u * unit + shared * chunk for u in (0, 1) for shared in range(m, MAX_RANK + 1 - u)]
    return [each for each in counts if each <= most]


def test_a_hard_cap_is_never_passed() -> None:
    capped = suggest(Facts(SEVEN, 4_999_000, hard_cap=True))
    assert all(each.parameters <= 4_999_000 for each in (*capped.prolora, capped.lora))
    assert str(capped.prolora[0].setting) == "(9, 1, 8, 8)"


def test_the_twin_is_the_nearest_whole_rank_with_its_true_gap() -> None:
    twin = suggest(Facts(DEMO, 20_000)).lora
    assert (twin.setting.r, twin.parameters) == (1, 19_456)
    assert twin.gap == pytest.approx(-0.0272)


def test_a_subset_of_the_projections_is_planned_alone() -> None:
    chosen = ("q_proj", "v_proj")
    found = suggest(Facts(SEVEN, parse_budget("rank 8", SEVEN, chosen), chosen))
    assert str(found.prolora[0].setting) == "(32, 4, 7, 7)"
    assert found.lora.parameters == 8 * 32 * 2 * 8192
    assert all(each.parameters == count(each.setting, SEVEN, chosen) for each in found.prolora)


def test_a_base_without_the_usual_projections_is_planned_by_its_own() -> None:
    shapes = find("phi-3-mini").shapes
    assert Facts(shapes, 5_000_000).target_modules == ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
    best = suggest(Facts(shapes, parse_budget("rank 8", shapes))).prolora[0]
    assert best.parameters == count(best.setting, shapes)
    with pytest.raises(PlanError, match="qkv_proj"):
        Facts(shapes, 5_000_000, ("q_proj",))


def test_layers_that_stand_in_some_places_only_are_counted_as_often_as_they_stand() -> None:
    mixed = Shapes(4, 64, (Linear("q_proj", 64, 64), Linear("up_proj", 64, 96, count=3)), 10**6)
    assert mixed.lora_unit() == 4 * 128 + 3 * 160
    found = suggest(Facts(mixed, 8 * mixed.lora_unit()))
    assert all(each.parameters == count(each.setting, mixed) for each in found.prolora)
    assert count(Setting(5, 1, 7, 3), mixed) == 4 * (128 + 4 * (10 + 22)) + 3 * (160 + 4 * (10 + 32))


def test_every_suggestion_has_a_sentence_with_the_evidence() -> None:
    best = suggest(Facts(SEVEN, 19_990_000)).prolora[0]
    assert best.reason == (
        "Rank 32 for the price of LoRA rank 8, 4 of them unshared (0.5 of the LoRA rank), a kind that beat LoRA of "
        "equal size in the paper (37.53 against 36.89 at 20M parameters); "
        "m = 7 leaves an overhang to cut at some widths."
    )
    assert "narrowly lost to LoRA" in suggest(Facts(DEMO, 19_456)).prolora[0].reason


def test_a_setting_far_below_the_budget_names_its_own_price() -> None:
    found = suggest(Facts(SEVEN, 2_000_000_000))
    assert found.note.startswith("This budget buys a LoRA of rank 800; PRoLoRA's settings end at rank 512")
    assert found.prolora[0].parameters == 511 * SEVEN.lora_unit()
    assert "Rank 512 for the price of LoRA rank 511, 510 of them unshared (0.998 " in found.prolora[0].reason
    assert "outside the 0.5 to 0.875" in found.prolora[0].reason


def test_under_a_hard_cap_a_lora_above_the_budget_is_not_what_it_buys() -> None:
    found = suggest(Facts(SEVEN, 19_980_000, hard_cap=True))
    assert found.note.startswith("This budget buys a LoRA of rank 7.997;")
    assert found.lora.reason.startswith("LoRA of rank 7 is the largest within the budget: 17.49M parameters, -12.46%")


@pytest.mark.parametrize(("budget", "tolerance"), [(20_100_000, None), (19_990_000, 0.0), (19_990_500, 0.0)])
def test_a_share_that_is_called_outside_does_not_look_inside(budget: int, tolerance: float | None) -> None:
    for each in suggest(Facts(SEVEN, budget, tolerance=tolerance)).prolora:
        share = float(each.reason.split("unshared (")[1].split(" ")[0]) if each.setting.u else 0.0
        assert "just outside" in each.reason or ("outside" in each.reason) != (0.5 <= share <= 0.875) or not share


def test_a_model_too_narrow_to_share_is_refused_with_a_sentence() -> None:
    with pytest.raises(PlanError, match="narrow"):
        suggest(Facts(Shapes(1, 1, (Linear("q_proj", 1, 1),), 100), 10))


@pytest.mark.parametrize(
    "wrong", [{"budget": 0}, {"budget": 10**6, "dtype": "int3"}, {"budget": 9, "target_modules": ("x",)}]
)
def test_facts_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(PlanError):
        Facts(DEMO, **wrong)


@pytest.mark.parametrize("base", ["demo", "llama-2-7b", "llama-2-70b", "qwen2.5-72b"])
def test_a_suggestion_takes_less_than_100_ms(base: str) -> None:
    shapes = find(base).shapes
    for step in range(12):
        budget = int(shapes.lora_unit() * 1.01 * (shapes.base_parameters / shapes.lora_unit() / 1.02) ** (step / 11))
        took = min(_seconds(Facts(shapes, budget)) for _ in range(3))  # the least of three: other processes run too
        assert took < 0.1, f"{budget} parameters took {took:.3f} s"


def _seconds(facts: Facts) -> float:
    started = time.perf_counter()
    suggest(facts)
    return time.perf_counter() - started


widths = st.integers(1, 300)
odd_shapes = st.builds(
    lambda layers, pairs: Shapes(
        layers=layers,
        hidden=pairs[0][0],
        linears=tuple(Linear(name, *pair) for name, pair in zip(PROJECTIONS, pairs, strict=False)),
        base_parameters=layers * sum(h * o for h, o in pairs),
    ),
    st.integers(1, 5),
    st.lists(st.tuples(widths, widths), min_size=1, max_size=7),
)
catalogue_shapes = st.sampled_from([base.shapes for base in CATALOGUE])


@settings(max_examples=150, deadline=None)
@given(
    shapes=catalogue_shapes | odd_shapes,
    place=st.floats(-0.1, 1.05),
    divisible=st.booleans(),
    hard_cap=st.booleans(),
    tolerance=st.none() | st.sampled_from([0.0, 0.0005, 0.01]),
)
def test_any_budget_is_planned_or_refused(
    shapes: Shapes, place: float, divisible: bool, hard_cap: bool, tolerance: float | None
) -> None:
    unit = shapes.lora_unit()
    budget = max(1, int(unit * (shapes.base_parameters / unit) ** place))  # from under rank 1 to over full fine-tuning
    facts = Facts(shapes, budget, divisible=divisible, hard_cap=hard_cap, tolerance=tolerance)
    try:
        found = suggest(facts)
    except PlanError:
        return
    check_suggestions(found, facts)


def check_suggestions(found: Suggestions, facts: Facts) -> None:
    highest = facts.budget if facts.hard_cap else facts.budget * (1 + facts.spread)
    every_width = {w for linear in facts.shapes.linears for w in (linear.inputs, linear.outputs)}
    assert found.prolora
    assert len({each.setting for each in found.prolora}) == len(found.prolora)
    for each in found.prolora:
        setting = each.setting
        assert setting.rolls_are_distinct
        assert setting.m == setting.n >= 2
        assert setting.u < setting.r <= MAX_RANK
        assert keeps_every_chunk(setting.m, every_width)
        assert each.parameters == count(setting, facts.shapes) <= highest
        assert each.size_bytes == bytes_of(each.parameters)
        assert each.gap == pytest.approx((each.parameters - facts.budget) / facts.budget)
        assert each.divides == all(width % setting.m == 0 for width in every_width) >= facts.divisible
        assert each.reason.endswith(".")
    within = [abs(each.gap) <= facts.spread for each in found.prolora]
    assert all(within) or "nearest below" in found.note
    unit = facts.shapes.lora_unit()
    assert facts.hard_cap or abs(found.lora.parameters - facts.budget) <= unit / 2 or found.lora.setting.r == 1
