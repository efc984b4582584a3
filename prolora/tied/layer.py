"""A linear layer with Tied LoRA adapters: it keeps what is its own, and borrows what an earlier layer keeps.

The update of a module is scaling * diag(v) B diag(u) A. A is one for all modules, B one for all of a name, u one for
the modules of a block, v each module's own. Each tensor is registered on the first module that uses it and on no
other, so that it is counted, trained and saved once.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, _get_in_out_features, check_adapters_to_merge
from peft.utils import quantization_extra_repr, resolve_quantization_backend
from torch import Tensor, nn
from torch.nn import functional

from prolora.errors import PlanError
from prolora.tied.config import TiedLoraConfig

PARTS = ("tied_lora_A", "tied_lora_B", "tied_lora_u", "tied_lora_v")
A, B, U, V = PARTS
Keepers = Mapping[str, "TiedLoraLayer"]  # of each part of one adapter


class TiedLoraLayer(BaseTunerLayer):  # type: ignore[misc]  # PEFT is untyped
    """The tensors of each adapter that this layer keeps, and where the others are."""

    adapter_layer_names = PARTS
    other_param_names = ("tied_lora_scaling", "tied_lora_dropout", "tied_lora_keepers")
    active_adapters: list[str]  # a property of PEFT's, whose type is not known

    def __init__(self, base_layer: nn.Module, **kwargs: Any) -> None:
        self.base_layer = base_layer
        self.quantization_backend = resolve_quantization_backend(
            self.get_base_layer(), get_apply_tensor_subclass=kwargs.get("get_apply_tensor_subclass")
        )
        for part in PARTS:
            setattr(self, part, nn.ParameterDict())
        self.tied_lora_dropout = nn.ModuleDict()
        self.tied_lora_scaling: dict[str, float] = {}
        self.tied_lora_keepers: dict[str, Keepers] = {}  # plain, so that no module counts twice
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self.kwargs = kwargs
        inputs, outputs = _get_in_out_features(self.get_base_layer())
        if inputs is None or outputs is None:
            raise TypeError(f"Tied LoRA needs a layer of known width; {type(self.get_base_layer())} is not one.")
        self.in_features, self.out_features = inputs, outputs

    def update_layer(
        self, adapter_name: str, config: TiedLoraConfig, keepers: Keepers, inference_mode: bool = False, **_: Any
    ) -> None:
        """Add an adapter; this layer makes the parts of which `keepers` says that it keeps them."""
        starts: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Any]]] = {
            A: ((config.r, self.in_features), lambda a: nn.init.uniform_(a, -(a.shape[1] ** -0.5), a.shape[1] ** -0.5)),
            B: ((self.out_features, config.r), nn.init.zeros_ if config.init_weights else nn.init.xavier_uniform_),
            U: ((config.r,), nn.init.ones_),
            V: ((self.out_features,), nn.init.ones_),
        }
        for part, (shape, start) in starts.items():
            if keepers[part] is self:
                getattr(self, part)[adapter_name] = nn.Parameter(start(torch.empty(shape)))
            elif (found := tuple(getattr(keepers[part], part)[adapter_name].shape)) != shape:
                raise PlanError(
                    f"Tied LoRA has one {part} of shape {found} for modules of which one asks for {shape}. "
                    "Choose target modules of equal widths: q_proj, k_proj and v_proj."
                )
        self.tied_lora_keepers[adapter_name] = keepers
        self.tied_lora_scaling[adapter_name] = config.lora_alpha / config.r
        self.tied_lora_dropout[adapter_name] = nn.Dropout(config.lora_dropout) if config.lora_dropout else nn.Identity()
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=inference_mode)

    def part(self, name: str, adapter_name: str) -> Tensor:
        """A, B, u or v of an adapter, wherever it is kept."""
        return cast(Tensor, getattr(self.tied_lora_keepers[adapter_name][name], name)[adapter_name])

    def factors(self, adapter_name: str) -> tuple[Tensor, Tensor]:
        """diag(u) A and diag(v) B, the factors of the plain LoRA that this module's adapter is."""
        a, b, u, v = (self.part(name, adapter_name) for name in PARTS)
        return u[:, None] * a, v[:, None] * b

    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """What merging adds to the base weight, (out, in)."""
        a, b = self.factors(adapter_name)
        return self.tied_lora_scaling[adapter_name] * (b @ a)

    def updated_weight(self, adapter_name: str, sign: float) -> Tensor:
        """The base weight, which PEFT dequantises where it must, with the update added or taken away."""
        weight = cast(Tensor, self.get_base_weight())
        return weight + sign * self.get_delta_weight(adapter_name).detach().to(weight)

    def write_weight(self, weight: Tensor) -> None:
        self.set_base_weight(weight)


class TiedLoraLinear(nn.Module, TiedLoraLayer):
    """A linear layer, quantised or not, with adapters beside it."""

    def __init__(
        self, base_layer: nn.Module, adapter_name: str, config: TiedLoraConfig, keepers: dict[str, Any], **kwargs: Any
    ) -> None:
        super().__init__()
        TiedLoraLayer.__init__(self, base_layer, **kwargs)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config, {part: keepers.setdefault(part, self) for part in PARTS})

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.disable_adapters and self.merged:
            self.unmerge()
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return result
        if self.quantization_backend is not None:
            result = self.quantization_backend.maybe_clone_base_result(result)
        for name in self.active_adapters:
            if name in self.tied_lora_keepers:
                result = result + self._update(x, name).to(result.dtype)
        return result

    def _update(self, x: Tensor, adapter_name: str) -> Tensor:
        a, b, u, v = (self.part(name, adapter_name).to(x.dtype) for name in PARTS)
        inner = functional.linear(self.tied_lora_dropout[adapter_name](x), a)
        return functional.linear(inner * (u * self.tied_lora_scaling[adapter_name]), b) * v

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        for name in check_adapters_to_merge(self, adapter_names):
            if name not in self.tied_lora_keepers:
                continue
            merged = self.updated_weight(name, 1.0)
            if safe_merge and not torch.isfinite(merged).all():
                raise ValueError(f"NaNs detected in the merged weights. The adapter {name} seems to be broken")
            self.write_weight(merged)
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
        while self.merged_adapters:
            self.write_weight(self.updated_weight(self.merged_adapters.pop(), -1.0))

    def __repr__(self) -> str:
        return f"tied_lora.{super().__repr__()}"

    def extra_repr(self) -> str:
        return str(quantization_extra_repr(self))
