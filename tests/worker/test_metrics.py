import math

import pytest

from worker import metrics
from worker.metrics import Estimate


@pytest.mark.parametrize("gold", ['{"intent": "late", "order": "80239"}', "नमस्ते, दुनिया", "a b a"])
def test_the_right_answer_scores_one_and_an_empty_one_nothing(gold: str) -> None:
    assert metrics.exact_match(f" {gold}\n", gold)
    assert metrics.token_f1(gold, gold) == 1
    assert not metrics.exact_match("", gold)
    assert metrics.token_f1("", gold) == 0


def test_a_wrong_answer_scores_nothing() -> None:
    assert not metrics.exact_match("no", "yes")
    assert metrics.token_f1("no", "yes") == 0


def test_a_half_right_answer_scores_by_the_words_in_common_each_counted_once() -> None:
    assert metrics.token_f1("a a b", "a b c") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (81, 263, 0.25528, 0.36621), (15, 148, 0.06236, 0.16045)],
)
def test_wilsons_interval_is_the_published_one(hits: int, n: int, low: float, high: float) -> None:
    # The last two rows are Newcombe's (1998).
    found = metrics.proportion([True] * hits + [False] * (n - hits))
    assert (found.value, found.n) == (hits / n, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_the_loss_weighs_tokens_and_not_items() -> None:
    assert metrics.ratio([1.0, 9.0], [1, 3]).value == 2.5


def test_the_bootstrap_gives_the_same_interval_each_time_and_one_that_holds_the_value() -> None:
    first, second = (metrics.mean([0.0, 0.5, 1.0, 1.0] * 10) for _ in range(2))
    assert first == second
    assert first.low < first.value == 0.625 < first.high


def test_perplexity_is_the_exponential_of_the_loss_and_of_its_bounds() -> None:
    assert metrics.perplexity(Estimate(0.0, 0.0, 1.0, 3)) == Estimate(1.0, 1.0, math.e, 3)
