"""Compilers, half and mixed precision: the same answers and gradients, or as near as the type allows."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import Tensor, nn

from prolora.peft import ProloraConfig
from tests.prolora.conftest import Load

TOKENS = torch.arange(20).view(2, 10)
X = torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
SETTING = {"r": 8, "u": 2, "m": 3, "n": 3, "init_weights": False}
KINDS = [{}, {"use_dora": True}, {"scale_unshared": True}, {"u": 0}]
HALVES = [torch.float16, torch.bfloat16]


def adapted(base: nn.Module, *, autocast_adapter_dtype: bool = True, **fields: Any) -> PeftModel:
    torch.manual_seed(0)
    return get_peft_model(
        base, ProloraConfig(**(SETTING | fields)), autocast_adapter_dtype=autocast_adapter_dtype
    ).train()


def layers(**fields: Any) -> PeftModel:
    torch.manual_seed(1)
    base = nn.Sequential(nn.Linear(24, 36), nn.ReLU(), nn.Linear(36, 24))
    return adapted(base, target_modules=["0", "2"], **fields)


def gradients(model: PeftModel, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    loss().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


def loss_of(model: Any) -> Callable[[], Tensor]:
    return lambda: model(input_ids=TOKENS, labels=TOKENS).loss


def assert_alike(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    for name, tensor in expected.items():
        error = (found[name].float() - tensor.float()).norm() / tensor.float().norm()
        assert error <= tolerance, name


def compiled(model: nn.Module) -> Any:
    """Whole, or not at all: a graph break is an error."""
    torch.compiler.reset()
    return torch.compile(model, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_compiled_without_a_graph_break_layers_answer_and_learn_the_same(fields: dict[str, Any]) -> None:
    model = layers(**fields)
    whole = compiled(model)
    assert_alike(gradients(model, lambda: whole(X).sum()), gradients(model, lambda: model(X).sum()), 1e-5)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(whole(X), model(X))


def test_compiled_with_several_active_adapters_layers_answer_the_same() -> None:
    model = layers()
    model.add_adapter("dora", ProloraConfig(**SETTING, use_dora=True, target_modules=["0"]))
    model.base_model.set_adapter(["default", "dora"])
    torch.testing.assert_close(compiled(model)(X), model(X))


def test_a_whole_model_compiles_without_a_graph_break(load: Load) -> None:
    model = adapted(load(), task_type="CAUSAL_LM", target_modules=["q_proj", "down_proj"])
    assert_alike(gradients(model, loss_of(compiled(model))), gradients(model, loss_of(model)), 1e-4)


@pytest.mark.parametrize("fields", KINDS, ids=str)
@pytest.mark.parametrize("dtype", HALVES)
def test_on_a_half_precision_base_the_adapter_learns_in_float32(
    load: Load, dtype: torch.dtype, fields: dict[str, Any]
) -> None:
    model, exact = (adapted(load(dtype=chosen), **fields) for chosen in (dtype, torch.float32))
    assert model(TOKENS).logits.dtype == dtype
    found = gradients(model, loss_of(model))
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    assert_alike(found, gradients(exact, loss_of(exact)), 0.2)


@pytest.mark.parametrize("fields", KINDS, ids=str)
@pytest.mark.parametrize("dtype", HALVES)
def test_wholly_in_half_precision_it_learns_nearly_the_same(
    load: Load, dtype: torch.dtype, fields: dict[str, Any]
) -> None:
    model = adapted(load(dtype=dtype), autocast_adapter_dtype=False, **fields)
    exact = adapted(load(), **fields)
    found = gradients(model, loss_of(model))
    assert {gradient.dtype for gradient in found.values()} == {dtype}
    assert_alike(found, gradients(exact, loss_of(exact)), 0.2)


@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_under_autocast_it_computes_in_half_and_learns_in_float32(load: Load, fields: dict[str, Any]) -> None:
    model = adapted(load(), **fields)
    exact = gradients(model, loss_of(model))
    with torch.autocast("cpu", torch.bfloat16):
        assert model(TOKENS).logits.dtype == torch.bfloat16
        mixed = gradients(model, loss_of(model))
    assert {gradient.dtype for gradient in mixed.values()} == {torch.float32}
    assert_alike(mixed, exact, 0.2)
