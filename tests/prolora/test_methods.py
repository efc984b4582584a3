import subprocess
import sys
from typing import get_args

import pytest

from prolora.base_models import find
from prolora.budget import THIN_SPACE, grouped
from prolora.errors import PlanError
from prolora.methods import METHODS, at_budget, count, method, title, unusual
from prolora.plan import TIED, MethodName, Setting
from prolora.planner import BudgetTooSmall

SEVEN, DEMO = find("llama-2-7b").shapes, find("demo").shapes
RANK_METHODS = [each for each in METHODS if each.family != "prolora"]


def test_every_name_of_a_plan_has_its_method() -> None:
    assert tuple(each.name for each in METHODS) == get_args(MethodName)


@pytest.mark.parametrize(
    ("name", "rank", "targets", "parameters"),
    [
        ("lora", 2, None, 4_997_120),
        ("vera", 256, None, 1_417_216),  # 1.42M in Table 2
        ("tied-lora", 256, TIED, 4_595_712),  # 4.60M in Table 2
    ],
)
def test_counts_are_those_of_the_papers_second_table(name, rank, targets, parameters) -> None:
    rest = () if targets is None else (targets,)
    assert count(name, Setting.lora(rank), SEVEN, *rest) == parameters


@pytest.mark.parametrize("name", get_args(MethodName))
@pytest.mark.parametrize("rho", [2, 8, 16])
def test_what_a_budget_buys_is_counted_truly(name, rho) -> None:
    budget = rho * SEVEN.lora_unit()
    fit = at_budget(name, SEVEN, budget)
    assert fit.parameters == count(name, fit.setting, SEVEN, fit.target_modules)
    assert fit.gap == (fit.parameters - budget) / budget


@pytest.mark.parametrize("each", RANK_METHODS, ids=lambda each: each.name)
def test_no_other_rank_comes_nearer(each) -> None:
    budget = 9 * DEMO.lora_unit() + 1234
    fit = at_budget(each.name, DEMO, budget)
    rivals = [Setting.lora(rank) for rank in (fit.setting.r - each.step, fit.setting.r + each.step)]
    if fit.setting.r == each.most_rank:
        rivals.pop()
    gaps = [abs(each.count(rival, DEMO, fit.target_modules) - budget) for rival in rivals]
    assert abs(fit.parameters - budget) <= min(gaps)


def test_vera_stays_at_the_papers_rank() -> None:
    fit = at_budget("vera", SEVEN, 8 * SEVEN.lora_unit())
    assert fit.setting == Setting.lora(256)
    assert fit.gap < -0.9


def test_without_unshared_ranks_the_rank_is_four_times_loras() -> None:
    for name in ("clora", "rolora"):
        assert at_budget(name, SEVEN, 8 * SEVEN.lora_unit()).setting == Setting(32, 0, 4, 4)


def test_tied_lora_adapts_what_has_equal_widths() -> None:
    assert at_budget("tied-lora", SEVEN, 5_000_000).target_modules == TIED
    with pytest.raises(PlanError, match="q_proj, k_proj, v_proj only"):
        at_budget("tied-lora", SEVEN, 5_000_000, ("down_proj",))


@pytest.mark.parametrize(("name", "least"), [("dora", 29_696), ("gralora", 38_912), ("prolora-dora", 29_696)])
def test_what_a_budget_cannot_buy_is_refused_with_the_least_that_could(name, least) -> None:
    with pytest.raises(BudgetTooSmall, match=f"{least:,}".replace(",", "\u2009")):
        at_budget(name, DEMO, DEMO.lora_unit())
    assert at_budget(name, DEMO, least).parameters == pytest.approx(least, rel=0.01)


@pytest.mark.parametrize("name", get_args(MethodName))
def test_under_its_least_a_method_is_refused_or_lies_within_the_tolerance(name) -> None:
    least = int(refusal(name, 1).split(" has ")[1].split(".")[0].replace(THIN_SPACE, ""))
    for budget in (least * share // 1000 for share in (500, 770, 985, 990, 991, 995, 999)):
        if words := refusal(name, budget):
            assert f"A budget of {grouped(budget)} parameters" in words
            assert f"has {grouped(least)}." in words
        else:
            assert at_budget(name, DEMO, budget).gap <= 0.01


def refusal(name: str, budget: int) -> str:
    try:
        at_budget(name, DEMO, budget)
    except BudgetTooSmall as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", ["clora", "rolora"])
def test_a_budget_beyond_the_highest_rank_buys_the_largest_there_is(name) -> None:
    fit = at_budget(name, SEVEN, 2_000_000_000)
    assert (fit.setting, fit.parameters) == (Setting(512, 0, 2, 2), 639_631_360)


def test_a_method_that_is_not_there_is_named() -> None:
    with pytest.raises(PlanError, match="no method called adalora"):
        method("adalora")
    assert title("adalora") == "adalora"


def test_copies_that_are_alike_are_told_except_where_none_is_rolled() -> None:
    assert "alike" in unusual("prolora", Setting(7, 1, 7, 7), DEMO)[0]
    assert unusual("prolora-unrotated", Setting(7, 1, 7, 7), DEMO) == []
    assert unusual("prolora", Setting(8, 1, 7, 7), DEMO) == []
    assert unusual("lora", Setting.lora(7), DEMO) == []


def test_methods_are_listed_without_torch() -> None:
    code = "import sys, prolora.methods; print({'torch', 'peft', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
