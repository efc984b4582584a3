"""What a layer and a file of weights must be before anything of a model is changed."""

from collections.abc import Collection, Iterator, Mapping

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper, resolve_quantization_backend
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from prolora.errors import StudioError
from prolora.layer import ProloraLayer


class WeightsError(StudioError, ValueError):
    """Weights that are not those of the adapter that is to be loaded; nothing was changed."""


class LayerError(StudioError, TypeError):
    """A module that was chosen for an adapter and cannot have one; nothing was changed."""


def check_layer(name: str, module: nn.Module) -> None:
    """Raise unless the module of this full name is a linear layer, quantised or not."""
    base = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
    backend = resolve_quantization_backend(base)
    linear = isinstance(base, nn.Linear) or (backend is not None and backend.layer_type == "linear")
    # torch's MultiheadAttention reads the weight of its projection and never calls it.
    if not linear or isinstance(base, NonDynamicallyQuantizableLinear):
        raise LayerError(
            f"{name} is a {type(base).__module__}.{type(base).__name__}; PRoLoRA adapts linear layers. "
            "Name others in target_modules, or this one in exclude_modules."
        )


def check_weights(model: nn.Module, state: Mapping[str, Tensor], prefix: str) -> None:
    """Raise unless every adapter that `state` names at all is there whole, in the shapes of its layers, and finite.

    `prefix` is what the keys of `state` have before the model's own names.
    """
    given = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    ours = {key for key in given if ".prolora_" in key}
    adapters = {key.rpartition(".")[2] for key in ours}
    wanted = {key: shape for key, shape in _stored(model) if key.rpartition(".")[2] in adapters}
    if missing := sorted(wanted.keys() - ours):
        raise WeightsError(f"The weights lack {_some(missing)}. Save the adapter again, or load the whole file.")
    check_places(ours, wanted)
    for key, shape in [*wanted.items(), *((key, shape) for key, shape in _saved_whole(model) if key in given)]:
        if tuple(given[key].shape) != shape:
            raise WeightsError(
                f"{key} has the shape {tuple(given[key].shape)}; this base model and configuration ask for {shape}."
            )
        if not given[key].is_meta and not torch.isfinite(given[key]).all():
            raise WeightsError(f"{key} has numbers that are not finite, so the adapter cannot answer. Train it again.")


def check_places(weights: Collection[str], places: Collection[str]) -> None:
    """Raise unless each of the weights has its place."""
    if extra := sorted(set(weights) - set(places)):
        raise WeightsError(f"The weights have {_some(extra)}, which this model and configuration have no place for.")


def check_some(model: nn.Module, adapter: str, weights: Collection[str]) -> None:
    """Raise where the weights of an adapter, as a file names them, have none for any of its layers."""
    awaited = any(key.endswith(f".{adapter}") for key, _ in _stored(model))
    if awaited and not any(".prolora_" in key for key in weights):
        raise WeightsError(
            f"The weights have no tensor of a PRoLoRA, but {_some(sorted(weights)) or 'none'}. Save the adapter again."
        )


def _stored(model: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, layer in model.named_modules():
        if isinstance(layer, ProloraLayer):
            for part in layer.adapter_layer_names:
                for adapter, tensor in getattr(layer, part).items():
                    yield f"{name}.{part}.{adapter}", tuple(tensor.shape)


def _saved_whole(model: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, module in model.named_modules():
        if isinstance(module, ModulesToSaveWrapper):
            for key, tensor in module.modules_to_save.named_parameters():
                yield f"{name}.modules_to_save.{key}", tuple(tensor.shape)


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
