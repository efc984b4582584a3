import warnings

import pytest
import torch
from torch import nn

from prolora.errors import PlanError
from prolora.peft import ProloraConfig, ProloraLinear
from prolora.plan import Setting


def layer_of(inputs: int = 64, outputs: int = 48, **fields: object) -> ProloraLinear:
    return ProloraLinear(nn.Linear(inputs, outputs), "default", ProloraConfig(**fields))


def test_a_new_adapter_changes_nothing() -> None:
    layer, x = layer_of(r=8, u=2, m=3, n=3), torch.randn(5, 64)
    assert torch.equal(layer(x), layer.base_layer(x))


def test_a_starts_within_the_rectified_bound() -> None:
    layer = layer_of(r=40, u=4, m=4, n=4)
    for part in (layer.prolora_A_u["default"], layer.prolora_A_0["default"]):
        assert 0.95 * 64**-0.5 < part.abs().max() <= 64**-0.5


def test_unrectified_the_chunk_starts_by_its_own_fan_in() -> None:
    layer = layer_of(r=40, u=4, m=4, n=4, rectify=False)
    assert 0.95 * 16**-0.5 < layer.prolora_A_0["default"].abs().max() <= 16**-0.5
    assert layer.prolora_A_u["default"].abs().max() <= 64**-0.5


def test_unrotated_the_copies_are_alike() -> None:
    shared = layer_of(r=8, u=0, m=4, n=4, rotate=False).factor_a("default")
    assert all(torch.equal(shared[:, :16], copy) for copy in shared.split(16, dim=1))


def test_scaling_takes_the_whole_rank() -> None:
    assert ProloraConfig(r=8, u=2, m=2, n=2, lora_alpha=16).scaling_of("q_proj") == 2
    assert ProloraConfig(r=16, u=2, m=2, n=2, lora_alpha=16, use_rslora=True).scaling_of("q_proj") == 4


def test_a_module_that_a_pattern_names_has_its_own_setting_and_alpha() -> None:
    config = ProloraConfig(
        r=8, u=2, m=2, n=2, setting_pattern={"q_proj": {"r": 16, "u": 4}}, alpha_pattern={"q_proj": 32}
    )
    assert config.layout_of("layers.0.q_proj").setting == Setting(16, 4, 2, 2)
    assert config.layout_of("layers.0.k_proj").setting == Setting(8, 2, 2, 2)
    assert config.scaling_of("layers.0.q_proj") == 2
    assert config.scaling_of("layers.0.k_proj") == 2


def test_a_pattern_of_an_impossible_setting_or_an_unknown_number_is_refused() -> None:
    with pytest.raises(PlanError, match="between 0 and r = 8"):
        ProloraConfig(r=8, u=2, m=2, n=2, setting_pattern={"q_proj": {"u": 9}})
    with pytest.raises(PlanError, match="setting_pattern may change r, u, m, n of a module"):
        ProloraConfig(r=8, u=2, m=2, n=2, setting_pattern={"q_proj": {"alpha": 9}})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"setting_pattern": {r"layers\.1\.q_proj": {"u": 9}}}, "between 0 and r = 8"),
        ({"setting_pattern": {".*": {"u": 1}, "q_proj": {"u": 9}}}, "between 0 and r = 8"),
        ({"setting_pattern": {"q_(proj": {"u": 1}}}, "q_.proj., which is no regular expression"),
        ({"alpha_pattern": {"q_(proj": 1}}, "q_.proj., which is no regular expression"),
        ({"alpha_pattern": {"q_proj": "1"}}, "alpha_pattern of q_proj must be a number, not '1'"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a number"),
        ({"lora_dropout": 1.0}, "lora_dropout must be a number from 0 to 0.999"),
        ({"lora_dropout": -0.1}, "lora_dropout must be"),
        ({"bias": "some"}, "bias must be one of none, all, prolora_only"),
    ],
    ids=str,
)
def test_what_no_layer_could_take_is_refused_with_the_config(fields: dict[str, object], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        ProloraConfig(**({"r": 8, "u": 2, "m": 2, "n": 2} | fields))


def test_a_layer_trains_at_the_most_dropout_that_is_allowed() -> None:
    layer = layer_of(r=8, u=2, m=3, n=3, lora_dropout=0.999)
    assert layer.train()(torch.randn(5, 64)).isfinite().all()


@pytest.mark.parametrize("value", [2.0, "2", True, None])
def test_a_number_of_the_setting_that_is_not_whole_is_refused_by_name(value: object) -> None:
    with pytest.raises(PlanError, match="m must be a whole number"):
        ProloraConfig(r=8, u=2, m=value, n=2)


def test_a_config_of_a_newer_format_is_refused() -> None:
    with pytest.raises(PlanError, match="format_version is 2"):
        ProloraConfig(format_version=2)


def test_scalars_of_the_unshared_ranks_scale_those_rows_of_a_alone() -> None:
    layer = layer_of(r=8, u=2, m=2, n=2, scale_unshared=True)
    before = layer.factor_a("default").detach().clone()
    layer.prolora_scale_u["default"].data = torch.tensor([2.0, 3.0])
    after = layer.factor_a("default")
    assert torch.equal(after[:2], before[:2] * torch.tensor([[2.0], [3.0]]))
    assert torch.equal(after[2:], before[2:])


@pytest.mark.parametrize("share_along", ["hidden", "rank"])
@pytest.mark.parametrize("rotate_along", ["hidden", "rank"])
def test_every_variant_of_table_4_trains_what_its_layout_counts(share_along: str, rotate_along: str) -> None:
    layer = layer_of(r=10, u=2, m=4, n=4, share_along=share_along, rotate_along=rotate_along, init_weights=False)
    layer(torch.randn(5, 64)).sum().backward()
    trained = [parameter for parameter in layer.parameters() if parameter.grad is not None]
    shapes = layer.prolora_layout["default"].shapes(64, 48)
    assert sum(
        parameter.numel() for parameter in trained if parameter.dim() == 2 and parameter.shape != (48, 64)
    ) == sum(rows * width for rows, width in shapes.values())
    assert layer.factor_a("default").shape == (10, 64)
    assert layer.factor_b("default").shape == (48, 10)


def test_dropout_acts_in_training_only() -> None:
    layer, x = layer_of(r=8, u=2, m=3, n=3, lora_dropout=0.5, init_weights=False), torch.randn(5, 64)
    assert not torch.equal(layer.train()(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


def test_a_bfloat16_layer_answers_in_bfloat16() -> None:
    layer = layer_of(r=8, u=2, m=3, n=3, init_weights=False)
    expected = layer(x := torch.randn(5, 64))
    layer.base_layer.bfloat16()
    answer = layer(x.bfloat16())
    assert answer.dtype == torch.bfloat16
    torch.testing.assert_close(answer.float(), expected, rtol=0.05, atol=0.05)


def test_repeated_rolls_are_allowed_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="alike"):
        layer_of(r=5, u=2, m=8, n=5)


def test_chunks_cut_away_whole_are_allowed_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="cut away whole"):
        layer_of(24, 40, r=32, u=6, m=13, n=13)


def test_without_rotation_alike_copies_need_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer_of(64, 40, r=5, u=2, m=8, n=5, rotate=False)


def test_plain_lora_needs_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer_of(r=4, u=4, m=1, n=1)


def test_a_setting_that_cannot_be_is_refused() -> None:
    with pytest.raises(PlanError, match="between 0 and r"):
        ProloraConfig(r=4, u=5, m=2, n=2, rotate=False)


def test_empty_tensors_are_not_trained() -> None:
    layer = layer_of(r=8, u=0, m=4, n=4)
    assert not layer.prolora_A_u["default"].requires_grad
    assert layer.prolora_A_0["default"].requires_grad
