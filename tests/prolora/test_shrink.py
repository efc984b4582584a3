"""The nearest PRoLoRA of a LoRA: exact where it can be, never worse from sweep to sweep, and truly reported."""

import json
from itertools import islice, pairwise
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from torch import Tensor

from prolora.adapter_file import AdapterError
from prolora.alternating import Factor, Product, nearest, sweeps
from prolora.export import to_lora
from prolora.factor import unfold
from prolora.layout import Layout
from prolora.peft import ProloraConfig
from prolora.plan import Setting
from prolora.shrink import to_nearest
from tests.prolora.conftest import Load

TOKENS = torch.arange(20).view(2, 10)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def expansion(setting: Setting, inputs: int, outputs: int) -> Product:
    layout = Layout(setting)
    a, b = layout.a(inputs), layout.b(outputs)
    full_b = unfold(random(setting.u, outputs, seed=1), random(*b.chunk, seed=2), b)
    return Product(full_b.T, unfold(random(setting.u, inputs, seed=3), random(*a.chunk, seed=4), a))


@st.composite
def problems(draw: st.DrawFn) -> tuple[Product, Layout, Factor]:
    """A LoRA, a setting, which may cut chunks away or repeat rolls, and any start of B."""
    rank = draw(st.integers(1, 9))
    setting = Setting(rank, *(draw(st.integers(low, high)) for low, high in ((0, rank), (1, 8), (1, 8))))
    inputs, outputs, k = (draw(st.integers(low, high)) for low, high in ((4, 20), (4, 20), (1, 6)))
    sharing = Layout(setting).b(outputs)
    start = Factor(random(setting.u, outputs, seed=1), random(*sharing.chunk, seed=2), sharing)
    return Product(random(outputs, k, seed=3), random(k, inputs, seed=4)), Layout(setting), start


@settings(max_examples=60, deadline=None)
@given(problems())
def test_the_error_never_rises_from_sweep_to_sweep(problem: tuple[Product, Layout, Factor]) -> None:
    target, layout, start = problem
    # Squared, as the sweeps minimise it.
    errors = [fit.error**2 for fit in islice(sweeps(target, start, layout), 6)]
    assert errors[0] <= 1 + 1e-9  # no update at all has the error 1
    assert all(after <= before + 1e-9 for before, after in pairwise(errors))


@settings(max_examples=30, deadline=None)
@given(problems())
def test_half_a_sweep_is_the_least_squares_solution_of_the_whole_problem(
    problem: tuple[Product, Layout, Factor],
) -> None:
    target, layout, start = problem
    fit = next(iter(sweeps(target, start, layout)))
    # B given A, as one dense system: what each stored number of B alone would make of the product.
    a, whole = fit.a.full, target.b @ target.a
    columns = [(unfold(*parts, start.sharing).T @ a).flatten() for parts in single_numbers(start)]
    system = torch.stack(columns, dim=1)
    # Directions that B hardly reaches may be used or not; without dividing by them both bounds are exact.
    left, reach, _ = torch.linalg.svd(system, full_matrices=False)
    most, least = (residual(whole.flatten(), left[:, reach > share * reach[0]]) for share in (1e-5, 1e-14))
    assert least - 1e-9 <= fit.error**2 <= most + 1e-9


def residual(vector: Tensor, basis: Tensor) -> float:
    """The share of a vector's square that lies outside of what the basis spans."""
    return float((vector - basis @ (basis.T @ vector)).norm() / vector.norm()) ** 2


def single_numbers(factor: Factor) -> list[tuple[Tensor, Tensor]]:
    """The factor with one stored number set to 1 and all others 0, for each."""
    numbers = factor.unshared.numel() + factor.chunk.numel()
    parts = [row.split([factor.unshared.numel(), factor.chunk.numel()]) for row in torch.eye(numbers).double()]
    return [(a.view_as(factor.unshared), b.view_as(factor.chunk)) for a, b in parts]


@pytest.mark.parametrize("setting", [Setting.lora(4), Setting.lora(6), Setting(6, 4, 3, 3)], ids=str)
def test_unshared_ranks_enough_hold_a_lora_exactly(setting: Setting) -> None:
    assert nearest(Product(random(18, 4), random(4, 15, seed=1)), Layout(setting)).error < 1e-12


@pytest.mark.parametrize("setting", [Setting(8, 2, 3, 3), Setting(8, 1, 7, 7), Setting(8, 0, 4, 4)], ids=str)
def test_an_expansion_of_the_setting_is_found_exactly(setting: Setting) -> None:
    assert nearest(expansion(setting, 40, 33), Layout(setting)).error < 1e-12


def test_an_expansion_with_its_ranks_mixed_up_is_found_all_the_same() -> None:
    setting = Setting(8, 2, 3, 3)
    product, mix = expansion(setting, 40, 33), torch.linalg.qr(random(8, 8, seed=9)).Q
    assert nearest(Product(product.b @ mix, mix.T @ product.a), Layout(setting)).error < 1e-6


def test_a_lora_that_was_never_trained_stays_so() -> None:
    fit = nearest(Product(torch.zeros(9, 2).double(), random(2, 8)), Layout(Setting(4, 1, 2, 2)))
    assert fit.error == 0
    assert not fit.b.full.any()
    assert fit.a.full.any()


@pytest.fixture
def lora(load: Load, tmp_path: Path) -> Path:
    model = get_peft_model(
        load(),
        LoraConfig(
            r=8,
            lora_alpha=12,
            use_rslora=True,
            rank_pattern={"o_proj": 4},
            alpha_pattern={"q_proj": 5},
            target_modules=["q_proj", "o_proj", "up_proj"],
            init_lora_weights=False,
        ),
    )
    model.save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


def update(load: Load, folder: Path) -> Tensor:
    """W + scaling B A of all adapted layers, less W, as plain PEFT merges them."""
    base, merged = load(), PeftModel.from_pretrained(load(), folder).merge_and_unload()
    before = base.state_dict()
    return torch.cat([(after - before[name]).flatten() for name, after in merged.state_dict().items()])


def test_the_reported_error_is_that_of_the_merged_update(lora: Path, load: Load, tmp_path: Path) -> None:
    done = to_nearest(lora, tmp_path / "small", Setting(8, 2, 3, 5))
    to_lora(tmp_path / "small", tmp_path / "back")
    before, after = update(load, lora), update(load, tmp_path / "back")
    assert done.error == pytest.approx(float((after - before).norm() / before.norm()), rel=1e-3)
    assert 0.1 < done.error < 1
    sizes = [each.size for each in done.modules]
    assert sqrt(sum(size**2 for size in sizes)) == pytest.approx(float(before.norm()), rel=1e-3)
    with safe_open(tmp_path / "small" / "adapter_model.safetensors", framework="pt") as file:
        assert float(file.metadata()["relative_error"]) == pytest.approx(done.error, rel=1e-4)


def test_a_budget_takes_the_planners_first_choice_for_the_adapters_own_shapes(lora: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    done = to_nearest(lora, tmp_path / "small", "4000", lines.append)
    assert done.after == pytest.approx(4000, rel=0.02)
    with safe_open(tmp_path / "small" / "adapter_model.safetensors", framework="pt") as file:
        assert done.after == sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert len(lines) == len(done.modules)
    assert lines[-1].startswith(f"{len(lines)} of {len(lines)}: model.layers.")


def test_a_budget_that_shrinks_nothing_is_refused(lora: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="shrinks nothing"):
        to_nearest(lora, tmp_path / "small", "1M")
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("options", [{"use_dora": True}, {"scale_unshared": True}, {"rotate": False}], ids=str)
def test_a_prolora_is_brought_to_another_setting(load: Load, tmp_path: Path, options: dict[str, Any]) -> None:
    config = ProloraConfig(r=6, u=3, m=2, n=2, target_modules=["q_proj"], init_weights=False, **options)
    get_peft_model(load(), config).save_pretrained(tmp_path / "adapter")
    done = to_nearest(tmp_path / "adapter", tmp_path / "lora", Setting(8, 6, 2, 2))
    assert done.error < 1e-6
    written = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert (written["r"], written["u"], written["lora_alpha"]) == (8, 6, 16)
    models = [PeftModel.from_pretrained(load(), tmp_path / name) for name in ("adapter", "lora")]
    with torch.no_grad():
        expected, found = (model(TOKENS).logits for model in models)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
