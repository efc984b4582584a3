import numpy as np
import pytest

from bench.study import design
from bench.study.design import BY_NAME, GRIDS, SEEDS, Run
from bench.study.report import QUESTIONS, Bootstrap, best_rates, compare, holm, reading, row
from bench.study.run import Outcome
from prolora.base_models import find
from prolora.methods import count

TOKENS = np.array([10.0, 20.0, 5.0, 40.0] * 10)
BEST = {name: rates[1] for name, rates in GRIDS.items()}


def outcome(run: Run, nats_a_token: float, noise: float = 0.0) -> Outcome:
    drawn = np.random.default_rng(run.seed).normal(nats_a_token, noise, len(TOKENS))
    split = "test" if run.seed in SEEDS else "validation"
    losses = tuple((drawn * TOKENS).tolist())
    return Outcome(
        run.config.name, run.config.method, (8, 8, 1, 1), run.learning_rate, run.seed, split, 100, losses, 1, "x"
    )


def test_no_run_with_a_reported_seed_chooses_a_learning_rate() -> None:
    assert not {run.seed for run in design.tuning()} & set(SEEDS)


def test_the_study_has_at_most_ninety_runs_besides_the_three_of_chunks_over_layers() -> None:
    most = max(
        len([run for run in design.reported(dict(zip(GRIDS, rates, strict=True))) if not run.config.over_layers])
        for rates in ([min(grid) for grid in GRIDS.values()], [max(grid) for grid in GRIDS.values()])
    )
    assert len(design.tuning()) + most <= 90


def test_every_question_is_about_lines_of_the_study() -> None:
    assert {name for pair in QUESTIONS for name in pair} <= BY_NAME.keys()


def test_lines_at_one_budget_have_its_parameters_within_one_per_cent() -> None:
    shapes = find("demo").shapes
    for config in design.CONFIGS:
        if config.setting and not config.over_layers:
            parameters = count(config.method, config.setting, shapes)
            assert abs(parameters - config.rho * shapes.lora_unit()) < 0.01 * parameters, config.name


def test_the_best_learning_rate_is_that_of_least_validation_loss_and_a_diverged_run_never_is() -> None:
    losses = {rate: 1 + abs(rate - BEST["LoRA 8"]) for rate in GRIDS["LoRA 8"]}
    found = [
        outcome(run, losses.get(run.learning_rate, 1.0) if run.learning_rate == BEST[run.config.name] else np.nan)
        for run in design.tuning()
    ]
    assert best_rates(found) == BEST


def test_a_reading_takes_the_runs_of_its_learning_rate_and_no_line_without_all_seeds() -> None:
    config = BY_NAME["PRoLoRA 8"]
    own = [outcome(Run(config, BEST["PRoLoRA 8"], seed), 1.0) for seed in SEEDS]
    papers = [outcome(Run(config, BEST["LoRA 8"], seed), 2.0) for seed in SEEDS[:2]]
    assert reading([*own, *papers], BEST, "own") == {"PRoLoRA 8": own}
    assert reading([*own, *papers], BEST, "paper") == {}


def test_a_row_has_the_mean_of_its_seeds_in_nats_a_token_inside_its_interval() -> None:
    runs = [outcome(Run(BY_NAME["LoRA 8"], 1e-3, seed), 1.5, noise=0.2) for seed in SEEDS]
    found = row(runs, Bootstrap(TOKENS))
    by_hand = [sum(run.losses) / TOKENS.sum() for run in runs]
    assert found.loss == pytest.approx(np.mean(by_hand), abs=1e-4)
    assert found.low < found.loss < found.high


def test_a_clear_difference_is_called_one_and_noise_is_not() -> None:
    def runs(name: str, loss: float) -> list[Outcome]:
        return [outcome(Run(BY_NAME[name], 1e-3, seed), loss, noise=0.05) for seed in SEEDS]

    found = compare(
        {"PRoLoRA 8": runs("PRoLoRA 8", 1.0), "LoRA 8": runs("LoRA 8", 1.3), "LoRA 16": runs("LoRA 16", 1.0)},
        Bootstrap(TOKENS),
    )
    words = {each.second: each.words for each in found}
    assert words["LoRA 8"] == "PRoLoRA 8 is better than LoRA 8"
    assert words["LoRA 16"] == "no difference shown between PRoLoRA 8 and LoRA 16"


def test_holm_multiplies_the_least_by_how_many_there_are_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
