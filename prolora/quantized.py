"""What goes wrong in silence when adapters are trained on a quantised base, and what prevents it."""

from torch import nn


def keep_packing(model: nn.Module) -> None:
    """Forbid bitsandbytes to repack 4-bit weights in place on CPUs with AVX512-BF16, and take back where it has.

    It does so at the first evaluation; training and merging that follow are silently wrong, by any method. Adding
    a PRoLoRA adapter that is to be trained calls this; for another method call it once after loading the base.
    """
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            vars(module)["support_avx512bf16_for_cpu"] = False
            module.state_dict()  # what takes the packing back, since no file may hold it


def train_in_float32(model: nn.Module) -> None:
    """Make what is trained float32; call it after building TRL's SFTTrainer, which casts adapters to bfloat16.

    bfloat16 has eight bits: at the usual learning rates of adapters, updates are rounded away. PEFT's
    `prepare_model_for_kbit_training` is no substitute: it makes what is frozen float32, which adapters do not need.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
