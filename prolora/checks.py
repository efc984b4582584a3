"""What a file of weights must hold before a model takes anything from it."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from prolora.errors import StudioError
from prolora.layer import ProloraLayer


class WeightsError(StudioError, ValueError):
    """Weights that are not those of the adapter that is to be loaded; nothing was changed."""


def check_weights(model: nn.Module, state: Mapping[str, Tensor], prefix: str) -> None:
    """Raise unless every adapter that `state` names at all is there whole, in the shapes of its layers, and finite.

    `prefix` is what the keys of `state` have before the model's own names.
    """
    given = {key.removeprefix(prefix): tensor for key, tensor in state.items() if ".prolora_" in key}
    adapters = {key.rpartition(".")[2] for key in given}
    wanted = {key: shape for key, shape in _stored(model) if key.rpartition(".")[2] in adapters}
    if missing := sorted(wanted.keys() - given.keys()):
        raise WeightsError(f"The weights lack {_some(missing)}. Save the adapter again, or load the whole file.")
    if extra := sorted(given.keys() - wanted.keys()):
        raise WeightsError(f"The weights have {_some(extra)}, which this model and configuration have no place for.")
    for key, shape in wanted.items():
        if tuple(given[key].shape) != shape:
            raise WeightsError(
                f"{key} has the shape {tuple(given[key].shape)}; this base model and configuration ask for {shape}."
            )
        if not given[key].is_meta and not torch.isfinite(given[key]).all():
            raise WeightsError(f"{key} has numbers that are not finite, so the adapter cannot answer. Train it again.")


def _stored(model: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, layer in model.named_modules():
        if isinstance(layer, ProloraLayer):
            for part in layer.adapter_layer_names:
                for adapter, tensor in getattr(layer, part).items():
                    yield f"{name}.{part}.{adapter}", tuple(tensor.shape)


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
