"""Every number of the golden vectors: factors, update, output and all gradients."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from prolora.peft import ProloraConfig, ProloraLinear

FOLDER = Path(__file__).parents[1] / "golden"
CONFIGS: dict[str, dict[str, int]] = json.loads((FOLDER / "configs.json").read_text())
PARTS = ("A_u", "A_0", "B_u", "B_0")


def layer_of(config: dict[str, int], vectors: dict[str, Tensor]) -> ProloraLinear:
    base = nn.Linear(config["in"], config["out"], bias=False)
    base.weight = nn.Parameter(vectors["W0"], requires_grad=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three of the six repeat rolls or cut chunks away, on purpose
        setting = ProloraConfig(**{key: config[key] for key in "rumn"}, lora_alpha=config["alpha"])
        layer = ProloraLinear(base, "default", setting)
    for part in PARTS:
        parameter = getattr(layer, f"prolora_{part}")["default"]
        assert parameter.shape == vectors[f"param.{part}"].shape
        parameter.data.copy_(vectors[f"param.{part}"])
    return layer


@pytest.fixture(params=CONFIGS)
def vectors(request: pytest.FixtureRequest) -> tuple[dict[str, int], dict[str, Tensor]]:
    return CONFIGS[request.param], load_file(FOLDER / f"{request.param}.safetensors")


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=1e-5)


def test_factors_and_update_are_the_papers(vectors: tuple[dict[str, int], dict[str, Tensor]]) -> None:
    config, expected = vectors
    layer = layer_of(config, expected)
    same(layer.factor_a("default"), expected["paper.A"])
    same(layer.factor_b("default"), expected["paper.B"])
    same(layer.get_delta_weight("default") / (config["alpha"] / config["r"]), expected["paper.delta_W"])


def test_output_and_gradients_are_the_papers(vectors: tuple[dict[str, int], dict[str, Tensor]]) -> None:
    config, expected = vectors
    layer = layer_of(config, expected)
    x = expected["x"].requires_grad_()
    y = layer(x)
    same(y, expected["paper.y"])
    y.backward(expected["gy"])
    assert x.grad is not None
    same(x.grad, expected["paper.grad.x"])
    for part in PARTS:
        parameter = getattr(layer, f"prolora_{part}")["default"]
        # A tensor without elements is frozen and has no gradient, which is as much as an empty one says.
        same(parameter.grad if parameter.numel() else torch.empty_like(parameter), expected[f"paper.grad.{part}"])


@pytest.mark.parametrize("merge", [lambda layer: layer.merge(), lambda layer: layer.merge(safe_merge=True)])
def test_merged_the_output_is_the_same(
    vectors: tuple[dict[str, int], dict[str, Tensor]], merge: Callable[[ProloraLinear], None]
) -> None:
    config, expected = vectors
    layer = layer_of(config, expected)
    merge(layer)
    same(layer(expected["x"]), expected["paper.y"])
    layer.unmerge()
    same(layer.get_base_weight(), expected["W0"])
