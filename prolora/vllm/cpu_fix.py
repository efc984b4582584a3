"""vLLM 0.32 on a CPU answers wrongly for the base model when it is served beside an adapter.

Its torch kernels look a token's slot up with the number -1 where the token has no adapter, which
in torch is the last slot. These kernels leave such rows alone, and multiply once a slot instead of
gathering a copy of the weights for every token, which is also faster. The Triton kernels of CUDA
are right, and are not touched.
"""

import inspect
import logging
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

VERSIONS = ("0.32.",)
log = logging.getLogger("vllm.prolora")


def bgmv_shrink(
    inputs: Tensor, lora_b_weights: Tensor, output_tensor: Tensor, lora_indices_tensor: Tensor, scaling: float = 1.0
) -> None:
    outputs = _by_slot(inputs.to(output_tensor.dtype), lora_b_weights, lora_indices_tensor)
    output_tensor[:, : outputs.shape[1]] = scaling * outputs


def bgmv_expand(
    inputs: Tensor,
    lora_b_weights: Tensor,
    output_tensor: Tensor,
    lora_indices_tensor: Tensor,
    add_inputs: bool = True,
) -> None:
    outputs = _by_slot(inputs.to(output_tensor.dtype), lora_b_weights, lora_indices_tensor)
    # Adapter and model may pad the vocabulary differently.
    width = min(outputs.shape[1], output_tensor.shape[1])
    _write(output_tensor[:, :width], outputs[: len(output_tensor), :width], add_inputs)


def bgmv_expand_slice(
    inputs: Tensor,
    lora_b_weights: Tensor,
    output_tensor: Tensor,
    lora_indices_tensor: Tensor,
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = True,
) -> None:
    outputs = _by_slot(inputs.to(output_tensor.dtype), lora_b_weights, lora_indices_tensor)
    _write(output_tensor[:, slice_offset : slice_offset + slice_size], outputs, add_inputs)


KERNELS = (bgmv_shrink, bgmv_expand, bgmv_expand_slice)


def _by_slot(inputs: Tensor, weights: Tensor, slots: Tensor) -> Tensor:
    """Each row times the weights of its slot; zero for the rows without one."""
    if weights.dim() == 4:
        weights = weights.squeeze(1)
    outputs = inputs.new_zeros(len(inputs), weights.shape[1])
    for slot in torch.unique(slots).tolist():
        if slot >= 0:
            rows = (slots == slot).nonzero().squeeze(1)
            outputs[rows] = inputs[rows] @ weights[slot].to(inputs.dtype).T
    return outputs


def _write(target: Tensor, values: Tensor, add: bool) -> None:
    if add:
        target += values
    else:
        target.copy_(values)


def apply() -> None:
    """Put these kernels in the place of vLLM's, on a CPU and where they are known to fit."""
    import vllm
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    if not vllm.__version__.startswith(VERSIONS):
        log.warning("The mend of vLLM's LoRA on CPUs was made for 0.32, not for %s; it is left out.", vllm.__version__)
        return
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    # The one defines them and its sgmv_* call them, the other has imported them by name.
    for module in (lora_ops, punica_cpu):
        replace_kernels(module)


def replace_kernels(module: ModuleType) -> None:
    moved = [kernel.__name__ for kernel in KERNELS if not _fits(module, kernel)]
    if moved:
        log.warning("vLLM's %s has other kernels than expected (%s); it is not mended.", module.__name__, moved)
        return
    for kernel in KERNELS:
        setattr(module, kernel.__name__, kernel)


def _fits(module: ModuleType, kernel: Callable[..., None]) -> bool:
    found = getattr(module, kernel.__name__, None)
    return callable(found) and list(inspect.signature(found).parameters) == list(inspect.signature(kernel).parameters)
