"""A linear layer with PRoLoRA adapters: it holds what is stored, and unfolds it when it is needed."""

import warnings
from collections.abc import Sequence
from typing import Any, Self, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, _get_in_out_features, check_adapters_to_merge
from peft.utils import quantization_extra_repr, resolve_quantization_backend
from torch import Tensor, nn
from torch.nn import functional

from prolora.config import ProloraConfig
from prolora.factor import scaled, unfold
from prolora.layout import PARTS, Layout
from prolora.quantized import keep_packing
from prolora.update import Terms, update


class ProloraLayer(BaseTunerLayer):  # type: ignore[misc]  # PEFT is untyped
    """The stored tensors of each adapter on one layer, and the factors that they stand for."""

    adapter_layer_names = PARTS
    other_param_names = ("prolora_config", "prolora_layout", "prolora_scaling", "prolora_dropout", "_kept_factors")
    active_adapters: list[str]  # a property of PEFT's, whose type is not known
    prolora_magnitude: nn.ParameterDict

    def __init__(self, base_layer: nn.Module, **kwargs: Any) -> None:
        self.base_layer = base_layer
        self.quantization_backend = resolve_quantization_backend(
            self.get_base_layer(), get_apply_tensor_subclass=kwargs.get("get_apply_tensor_subclass")
        )
        for name in self.adapter_layer_names:
            setattr(self, name, nn.ParameterDict())
        self.prolora_dropout = nn.ModuleDict()
        self.prolora_config: dict[str, ProloraConfig] = {}
        self.prolora_layout: dict[str, Layout] = {}
        self.prolora_scaling: dict[str, float] = {}
        self._merged_gains: dict[str, Tensor | None] = {}  # what DoRA multiplied rows by, to take it back
        self._kept_factors: dict[str, tuple[tuple[Any, ...], list[Tensor], tuple[Tensor, Tensor]]] = {}
        self.frozen_peft_weight_names: dict[str, tuple[str, ...]] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        # PEFT's switch for casting inputs; ours casts the small factors instead.
        self.cast_input_dtype_enabled = True
        self.kwargs = kwargs
        inputs, outputs = _get_in_out_features(self.get_base_layer())
        if inputs is None or outputs is None:
            raise TypeError(f"PRoLoRA needs a layer of known width; {type(self.get_base_layer())} is not one.")
        self.in_features, self.out_features = inputs, outputs

    def update_layer(
        self,
        adapter_name: str,
        r: int,
        config: ProloraConfig,
        inference_mode: bool = False,
        module_name: str = "",
        **_: Any,
    ) -> None:
        """Add an adapter, or replace the one of that name; `module_name` finds its pattern in the config."""
        layout = config.layout_of(module_name)
        for sentence in layout.wasted(self.in_features, self.out_features):
            warnings.warn(f"{module_name or 'This layer'}: {sentence}", stacklevel=3)
        self.prolora_config[adapter_name] = config
        self.prolora_layout[adapter_name] = layout
        self.prolora_scaling[adapter_name] = config.scaling_of(module_name)
        self.prolora_dropout[adapter_name] = nn.Dropout(config.lora_dropout) if config.lora_dropout else nn.Identity()
        for name, shape in layout.shapes(self.in_features, self.out_features).items():
            getattr(self, name)[adapter_name] = nn.Parameter(torch.empty(shape))
        self.reset_parameters(adapter_name)
        # u = 0 and u = r leave empty tensors, and some optimisers' kernels fail on those.
        self.frozen_peft_weight_names[adapter_name] = tuple(
            name for name in layout.shapes(1, 1) if not getattr(self, name)[adapter_name].numel()
        )
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=inference_mode)

    def reset_parameters(self, adapter_name: str) -> None:
        """The start of the paper: A uniform in 1/sqrt(fan-in), B zero, so that the model is unchanged.

        Rectified means that the chunk's fan-in is the layer's, not the narrower chunk's own.
        """
        config = self.prolora_config[adapter_name]
        chunk = self.prolora_A_0[adapter_name]
        fan_in = self.in_features if config.rectify else max(chunk.shape[1], 1)
        nn.init.uniform_(self.prolora_A_u[adapter_name], -(self.in_features**-0.5), self.in_features**-0.5)
        nn.init.uniform_(chunk, -(fan_in**-0.5), fan_in**-0.5)
        bound = 0.0 if config.init_weights else self.prolora_layout[adapter_name].setting.r ** -0.5
        nn.init.uniform_(self.prolora_B_u[adapter_name], -bound, bound)
        nn.init.uniform_(self.prolora_B_0[adapter_name], -bound, bound)
        if adapter_name in self.prolora_scale_u:
            nn.init.ones_(self.prolora_scale_u[adapter_name])
        if adapter_name in self.prolora_magnitude and not chunk.is_meta:
            self.prolora_magnitude[adapter_name].data = self._row_norms(adapter_name)

    def _stored(self, adapter_name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A_u, with its scalars if it has any, A_0, B_u and B_0."""
        return (
            scaled(self.prolora_A_u[adapter_name], self.prolora_scale_u.get(adapter_name)),
            self.prolora_A_0[adapter_name],
            self.prolora_B_u[adapter_name],
            self.prolora_B_0[adapter_name],
        )

    def factor_a(self, adapter_name: str) -> Tensor:
        """A, (r, in)."""
        unshared, chunk, *_ = self._stored(adapter_name)
        return unfold(unshared, chunk, self.prolora_layout[adapter_name].a(self.in_features))

    def factor_b(self, adapter_name: str) -> Tensor:
        """B, (out, r)."""
        sharing = self.prolora_layout[adapter_name].b(self.out_features)
        return unfold(self.prolora_B_u[adapter_name].T, self.prolora_B_0[adapter_name].T, sharing).T

    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """What merging adds to the base weight: scaling * B A, (out, in)."""
        a, b = self.factor_a(adapter_name), self.factor_b(adapter_name)
        # In float32, since the product of two rounded factors would be rounded again at every sum.
        return (self.prolora_scaling[adapter_name] * (b.float() @ a.float())).to(a.dtype)

    def _row_norms(self, adapter_name: str) -> Tensor:
        """Euclidean length of each row of W + scaling * B A, (out,)."""
        with torch.no_grad():
            delta = self.get_delta_weight(adapter_name).float()
            norms: Tensor = torch.linalg.vector_norm(self._plain_weight().to(delta) + delta, dim=1)
            return norms.clamp_min(torch.finfo(torch.float32).tiny)

    def _gain(self, adapter_name: str) -> Tensor:
        """What DoRA multiplies each row by, (out,); the norm is a constant to the gradient (DoRA, section 4.3)."""
        magnitude: Tensor = self.prolora_magnitude[adapter_name]
        return (magnitude / self._row_norms(adapter_name)).to(magnitude.dtype)

    def _base_weight(self) -> Tensor:
        if self.quantization_backend is not None:
            keep_packing(self.get_base_layer())
        return cast(Tensor, self.get_base_weight())  # PEFT dequantises where it must

    def _base_bias(self) -> Tensor | None:
        return cast("Tensor | None", self.get_base_layer().bias)

    def _plain_weight(self) -> Tensor:
        """W of the base, where (1 + sum of (gain - 1)) W + sum of gain * scaling * B A is what is merged."""
        weight = self._base_weight()
        share: float | Tensor = 1.0
        for name in self.merged_adapters:
            gain, delta = self._merged_gains[name], self.get_delta_weight(name).detach().to(weight)
            weight = weight - (delta if gain is None else gain * delta)
            share = share if gain is None else share + (gain - 1)
        return weight if isinstance(share, float) else weight / share

    def _set_base(self, merged: Tensor, check: bool, name: str) -> None:
        if check and not torch.isfinite(merged).all():
            raise ValueError(f"NaNs detected in the merged weights. The adapter {name} seems to be broken")
        self.set_base_weight(merged)


class ProloraLinear(nn.Module, ProloraLayer):
    """A linear layer, quantised or not, with adapters beside it."""

    def __init__(
        self,
        base_layer: nn.Module,
        adapter_name: str,
        config: ProloraConfig,
        r: int = 0,
        module_name: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__()
        ProloraLayer.__init__(self, base_layer, **kwargs)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, r, config, module_name=module_name)

    def train(self, mode: bool = True) -> Self:
        self._kept_factors.clear()
        return super().train(mode)

    def forward(self, x: Tensor, *args: Any, adapter_names: Sequence[str] | None = None, **kwargs: Any) -> Tensor:
        if adapter_names is not None:
            return self._mixed_forward(x, adapter_names, *args, **kwargs)
        if self.disable_adapters and self.merged:
            self.unmerge()
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return result
        if self.quantization_backend is not None:
            result = self.quantization_backend.maybe_clone_base_result(result)
        of_base = result
        for name in self.active_adapters:
            if name in self.prolora_magnitude:
                result = result + self._change_by_dora(of_base, x, name)
            elif name in self.prolora_config:
                result = self._updated(result, x, name)
        return result

    def _change_by_dora(self, of_base: Tensor, x: Tensor, adapter_name: str) -> Tensor:
        """gain * (W x + scaling * B A dropout(x)) - W x, where `of_base` is W x and the base layer's bias."""
        bias = self._base_bias()
        product = of_base if bias is None else of_base - bias.to(of_base.dtype)
        gain = self._gain(adapter_name)
        change = (gain - 1).to(product.dtype) * product
        return change + gain.to(product.dtype) * self._update(x, adapter_name).to(product.dtype)

    def _updated(self, result: Tensor, x: Tensor, adapter_name: str) -> Tensor:
        """result + scaling * B A dropout(x)."""
        # A compiler sees through plain operations, and finds their backward pass by itself. Reentrant checkpointing
        # trains without gradients first, and must drop the same numbers when it comes again with them.
        if (self.training or torch.is_grad_enabled()) and not torch.compiler.is_compiling():
            return update(result, x, self._stored(adapter_name), self._terms(adapter_name))
        return result + self._update(x, adapter_name).to(result.dtype)

    def _terms(self, adapter_name: str) -> Terms:
        layout, dropout = self.prolora_layout[adapter_name], self.prolora_dropout[adapter_name]
        rate = dropout.p if self.training and isinstance(dropout, nn.Dropout) else 0.0
        return Terms(layout.a(self.in_features), layout.b(self.out_features), self.prolora_scaling[adapter_name], rate)

    def _update(self, x: Tensor, adapter_name: str) -> Tensor:
        """scaling * B A dropout(x). The factors take the type of x: they are small and x is not."""
        a, b = self._factors(adapter_name, x.dtype)
        inner = functional.linear(self.prolora_dropout[adapter_name](x), a)
        # On the narrow side, where there are r numbers a token to scale and not the layer's whole width.
        return functional.linear(inner * self.prolora_scaling[adapter_name], b)

    def _factors(self, adapter_name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A and B; kept from call to call while nothing is trained, since unfolding costs more than one token does."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._unfolded(adapter_name, dtype)
        parts = [getattr(self, name) for name in self.adapter_layer_names]
        stored = [part[adapter_name] for part in parts if adapter_name in part]
        # Tensors made under inference_mode count no changes, so nothing could tell when what is kept is out of date.
        if any(tensor.is_inference() for tensor in stored):
            return self._unfolded(adapter_name, dtype)
        state = (dtype, *((tensor.data_ptr(), tensor._version) for tensor in stored))
        kept = self._kept_factors.get(adapter_name)
        if kept is None or kept[0] != state:
            # What they were made of is kept as well: were it freed, another tensor could come to lie in its place.
            held = [tensor.detach() for tensor in stored]
            kept = self._kept_factors[adapter_name] = (state, held, self._unfolded(adapter_name, dtype))
        return kept[2]

    def _unfolded(self, adapter_name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return self.factor_a(adapter_name).to(dtype), self.factor_b(adapter_name).to(dtype)

    def _mixed_forward(self, x: Tensor, adapter_names: Sequence[str], *args: Any, **kwargs: Any) -> Tensor:
        """Each row of the batch by its own adapter, or by none for `__base__`."""
        if len(x) != len(adapter_names):
            raise ValueError(
                "Length of `adapter_names` should be the same as the number of inputs, but got "
                f"{len(adapter_names)} and {len(x)} respectively."
            )
        if self.merged:
            raise ValueError(
                "Cannot pass `adapter_names` when there are merged adapters, please call `unmerge_adapter` first."
            )
        result: Tensor = self.base_layer(x, *args, **kwargs).clone()
        if self.disable_adapters:
            return result
        for name in set(adapter_names) & set(self.prolora_config):
            rows = [row for row, chosen in enumerate(adapter_names) if chosen == name]
            change = (
                self._change_by_dora(result[rows], x[rows], name)
                if name in self.prolora_magnitude
                else self._update(x[rows], name)
            )
            result[rows] += change.to(result.dtype)
        return result

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        for name in check_adapters_to_merge(self, adapter_names):
            if name not in self.prolora_config:
                continue
            weight = self._base_weight()
            change, gain = self.get_delta_weight(name).detach().to(weight), None
            if name in self.prolora_magnitude:
                gain = self._gain(name).detach().to(weight)[:, None]
                # Beside others that are merged, since each changes the base's own answer.
                change = (gain - 1) * self._plain_weight() + gain * change
            self._set_base(weight + change, check=safe_merge, name=name)
            self._merged_gains[name] = gain
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        self._set_base(self._plain_weight(), check=False, name="")
        self.merged_adapters.clear()
        self._merged_gains.clear()

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        return adapter_name not in self.prolora_magnitude

    def __repr__(self) -> str:
        return f"prolora.{super().__repr__()}"

    def extra_repr(self) -> str:
        return str(quantization_extra_repr(self))
