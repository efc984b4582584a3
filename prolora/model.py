"""The PEFT tuner: which modules are wrapped, and how one batch mixes several adapters."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, _maybe_include_all_linear_layers
from peft.utils import (
    TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING,
    AuxiliaryTrainingWrapper,
    get_quantization_kwargs,
)
from torch import Tensor, nn

from prolora.checks import WeightsError, check_layer, check_places, check_some, check_weights
from prolora.config import ProloraConfig
from prolora.layer import ProloraLayer, ProloraLinear
from prolora.plan import PROJECTIONS
from prolora.quantized import keep_packing


class ProloraModel(BaseTuner):  # type: ignore[misc]  # PEFT is untyped
    """A model whose linear layers carry PRoLoRA adapters."""

    prefix = "prolora_"
    tuner_layer_cls = ProloraLayer
    # LoRA's usual choice, except that the paper adapts all seven projections of a Llama.
    target_module_mapping = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING | {"llama": list(PROJECTIONS)}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_load_state_dict_pre_hook(_check_before_loading)

    def _prepare_model(self, peft_config: ProloraConfig, model: nn.Module) -> None:
        """Refuse layers that cannot be adapted while all of them are still as they were."""
        _maybe_include_all_linear_layers(peft_config, model)
        adapted = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, BaseTunerLayer))
        for name, module in model.named_modules():
            if name and not name.startswith(adapted) and self._check_target_module_exists(peft_config, name):
                check_layer(name, module)
        if not peft_config.inference_mode:
            keep_packing(model)

    def _create_and_replace(
        self,
        config: ProloraConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **_: Any,
    ) -> None:
        if isinstance(target, ProloraLayer):
            target.update_layer(adapter_name, config.r, config, module_name=current_key)
            return
        check_layer(current_key, target)  # again, since weights may choose modules where the config does not
        module = self._create_new_module(
            config, adapter_name, target, module_name=current_key, **get_quantization_kwargs(self)
        )
        if adapter_name not in self.active_adapters:
            module.requires_grad_(False)  # an adapter beside others trains only once it is chosen
        self._replace_module(parent, target_name, module, target)

    @staticmethod
    def _create_new_module(config: ProloraConfig, adapter_name: str, target: nn.Module, **kwargs: Any) -> nn.Module:
        return ProloraLinear(target, adapter_name, config=config, r=config.r, **kwargs)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """PEFT's cast makes new parameters, which would all be trainable, the frozen ones too."""
        trainable = {name: parameter.requires_grad for name, parameter in self.named_parameters()}
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(trainable[name])

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: ProloraConfig, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """PEFT calls this with what a file has for one adapter; what it has besides would go unread."""
        renamed = super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state_dict)
        tuner = getattr(model, "base_model", None)
        if isinstance(tuner, cls):
            for name, other in tuner.peft_config.items():
                other.awaits_weights &= name == adapter_name  # the others took their settings alone from a folder
            with _taking_back(tuner):
                check_some(tuner, adapter_name, state_dict)
                check_places(renamed, model.state_dict())
        return cast("dict[str, Tensor]", renamed)

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """Hand `adapter_names`, one a row of the batch, past the model's own forward to what has adapters."""
        names = kwargs.pop("adapter_names", None)
        if names is None:
            yield
            return
        self._check_adapter_names(names)
        beams = [name for name in names for _ in range(kwargs.get("num_beams") or 1)]
        # What an encoder reads is not repeated for every beam.
        encodes = self.get_model_config(self.model).get("is_encoder_decoder", False)
        encoder = set(self.model.get_encoder().modules()) if encodes else set()
        handles = [
            module.register_forward_pre_hook(
                partial(_add_adapter_names, names=names if module in encoder else beams), with_kwargs=True
            )
            for module in self.modules()
            if isinstance(module, (ProloraLinear, AuxiliaryTrainingWrapper))
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _check_adapter_names(self, names: Sequence[str]) -> None:
        if self.training:
            raise ValueError("Cannot pass `adapter_names` when the model is in training mode.")
        unknown = set(names) - set(self.peft_config) - {"__base__"}
        if unknown:
            raise ValueError(f"Trying to infer with non-existing adapter(s): {', '.join(sorted(unknown))}")


def _check_before_loading(model: ProloraModel, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Torch calls this with all that is to be loaded, before any layer has taken its part."""
    with _taking_back(model):
        check_weights(model, state, prefix)
    for config in model.peft_config.values():
        config.awaits_weights = False


@contextmanager
def _taking_back(model: ProloraModel) -> Iterator[None]:
    """Remove the adapters that PEFT added in order to load weights into them, should these be refused."""
    try:
        yield
    except WeightsError:
        for name in [name for name, config in model.peft_config.items() if config.awaits_weights]:
            if len(model.peft_config) > 1:
                model.delete_adapter(name)
            else:
                model.unload()
                del model.peft_config[name]
        raise


def _add_adapter_names(
    _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], names: Sequence[str]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs | {"adapter_names": names}
