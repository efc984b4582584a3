"""The PEFT tuner of Tied LoRA: which modules are wrapped, and which of them keeps what they have in common."""

from typing import Any

from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import (
    TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING,
    get_quantization_kwargs,
    resolve_quantization_backend,
)
from torch import nn

from prolora.plan import TIED
from prolora.tied.config import TiedLoraConfig
from prolora.tied.layer import PARTS, A, B, TiedLoraLayer, TiedLoraLinear, U


class TiedLoraModel(BaseTuner):  # type: ignore[misc]  # PEFT is untyped
    """A model whose attention projections carry Tied LoRA adapters."""

    prefix = "tied_lora_"
    tuner_layer_cls = TiedLoraLayer
    uses_shared_state = True
    target_module_mapping = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING | {"llama": list(TIED)}

    def inject_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Put an adapter in; while that lasts, know which layer keeps what: A, a name's B, a block's u."""
        self._keepers: dict[tuple[str, ...], TiedLoraLayer] = {}
        super().inject_adapter(*args, **kwargs)

    def _create_and_replace(
        self,
        config: TiedLoraConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **_: Any,
    ) -> None:
        places = {A: (A,), B: (B, target_name), U: (U, current_key.rpartition(".")[0])}
        keepers = {part: self._keepers[place] for part, place in places.items() if place in self._keepers}
        if isinstance(target, TiedLoraLayer):
            module = target
            module.update_layer(adapter_name, config, {part: keepers.get(part, module) for part in PARTS})
        else:
            _refuse_what_is_not_linear(target)
            module = TiedLoraLinear(
                target, adapter_name, config=config, keepers=keepers, **get_quantization_kwargs(self)
            )
            if adapter_name not in self.active_adapters:
                module.requires_grad_(False)  # an adapter beside others trains only once it is chosen
            self._replace_module(parent, target_name, module, target)
        for place in places.values():
            self._keepers.setdefault(place, module)


def _refuse_what_is_not_linear(target: nn.Module) -> None:
    base = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
    backend = resolve_quantization_backend(base)
    if not isinstance(base, nn.Linear) and (backend is None or backend.layer_type != "linear"):
        raise TypeError(f"Tied LoRA adapts linear layers, quantised or not; {target} is not one.")
