import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from prolora.peft import ProloraConfig, ProloraLinear

VARIANTS = [
    {"r": 8, "u": 2, "m": 3, "n": 5},
    {"r": 8, "u": 0, "m": 4, "n": 4},
    {"r": 4, "u": 4, "m": 1, "n": 1},
    {"r": 8, "u": 2, "m": 3, "n": 3, "rotate": False},
    {"r": 8, "u": 2, "m": 3, "n": 3, "share_along": "rank"},
    {"r": 8, "u": 2, "m": 3, "n": 3, "share_along": "rank", "rotate_along": "hidden"},
    {"r": 8, "u": 2, "m": 3, "n": 3, "scale_unshared": True},
]


def layer_of(**fields: object) -> ProloraLinear:
    torch.manual_seed(0)
    return ProloraLinear(nn.Linear(23, 31), "default", ProloraConfig(init_weights=False, **fields)).double()


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_the_fused_update_and_its_gradients_are_those_of_plain_autograd(fields: dict[str, object]) -> None:
    layer, x = layer_of(**fields), torch.randn(2, 5, 23, dtype=torch.float64, requires_grad=True)
    names = [name for name, parameter in layer.named_parameters() if parameter.requires_grad and "base" not in name]
    wanted = [x, *(parameter for name, parameter in layer.named_parameters() if name in names)]
    plain = layer.base_layer(x) + layer.prolora_scaling["default"] * (
        x @ layer.factor_a("default").T @ layer.factor_b("default").T
    )
    fused, incoming = layer(x), torch.randn(2, 5, 31, dtype=torch.float64)
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(
        torch.autograd.grad(fused, wanted, incoming), torch.autograd.grad(plain, wanted, incoming)
    )


def test_dropout_keeps_the_mean_and_drops_the_same_numbers_backwards() -> None:
    layer = layer_of(r=4, u=4, m=1, n=1, lora_dropout=0.5)
    x = torch.ones(4000, 23, dtype=torch.float64, requires_grad=True)
    update = layer(x) - layer.base_layer(x)
    expected = layer.get_delta_weight("default").sum(1)
    torch.testing.assert_close(update.mean(0), expected, rtol=0.1, atol=0.05)
    (gradient,) = torch.autograd.grad(update.sum(), x)
    assert 0.48 < (gradient == 0).double().mean() < 0.52
    dropped = (gradient != 0).double() * 2 @ layer.get_delta_weight("default").T
    torch.testing.assert_close(update, dropped, rtol=1e-5, atol=1e-5)


def test_what_follows_may_change_the_answer_in_place() -> None:
    layer, x = layer_of(r=4, u=1, m=3, n=3), torch.randn(2, 5, 23, dtype=torch.float64)
    chunk = layer.prolora_A_0["default"]
    (expected,) = torch.autograd.grad(layer(x).relu().sum(), chunk)
    (found,) = torch.autograd.grad(layer(x).relu_().sum(), chunk)
    assert torch.equal(found, expected)


def test_reentrant_checkpointing_drops_the_same_numbers_when_it_comes_again() -> None:
    layer, answers = layer_of(r=4, u=1, m=3, n=3, lora_dropout=0.5), []
    layer.register_forward_hook(lambda *call: answers.append(call[2].detach()))
    x = torch.randn(5, 23, dtype=torch.float64, requires_grad=True)
    checkpoint(layer, x, use_reentrant=True).sum().backward()
    first, again = answers
    assert torch.equal(first, again)


def test_under_autocast_the_answer_has_the_type_of_the_base() -> None:
    layer = layer_of(r=8, u=2, m=3, n=3).float()
    with torch.autocast("cpu", torch.bfloat16):
        answer = layer(torch.randn(5, 23))
    assert answer.dtype == torch.bfloat16
    answer.sum().backward()
    assert layer.prolora_A_0["default"].grad.dtype == torch.float32


@pytest.mark.parametrize("part", ["A_u", "A_0", "B_u", "B_0", "scale_u"])
def test_kept_factors_follow_every_change_of_the_weights(part: str) -> None:
    layer = layer_of(r=8, u=2, m=3, n=3, scale_unshared=True).eval()
    x = torch.randn(5, 23, dtype=torch.float64)
    with torch.no_grad():
        before = layer(x)
        assert torch.equal(layer(x), before)
        getattr(layer, f"prolora_{part}")["default"].mul_(2)
        after = layer(x)
        assert not torch.equal(after, before)
        layer.train()
        layer.prolora_B_0["default"].data.zero_()
        layer.prolora_B_u["default"].data.zero_()
        torch.testing.assert_close(layer.eval()(x), layer.base_layer(x))


def test_kept_factors_are_not_taken_for_those_of_a_tensor_in_the_same_place() -> None:
    layer, x = layer_of(r=8, u=2, m=3, n=3).eval(), torch.randn(5, 23, dtype=torch.float64)
    chunk = layer.prolora_B_0["default"]
    with torch.no_grad():
        for freed in range(1, 40):
            layer(x)
            for _ in range(freed % 5):
                chunk.data = torch.randn_like(chunk.data)
            update = x @ layer.get_delta_weight("default").T
            torch.testing.assert_close(layer(x), layer.base_layer(x) + update, rtol=1e-5, atol=1e-5)


def test_kept_factors_go_with_their_adapter() -> None:
    layer = layer_of(r=8, u=2, m=3, n=3).eval()
    with torch.no_grad():
        layer(torch.randn(5, 23, dtype=torch.float64))
        kept = [weakref.ref(tensor) for tensor in layer._factors("default", torch.float64)]
    layer.delete_adapter("default")
    assert [reference() for reference in kept] == [None, None]
