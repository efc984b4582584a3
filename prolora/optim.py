"""Learning rates of an adapter's parts, as groups for any optimizer of torch."""

from typing import Any

from torch import nn

UNSHARED = (".prolora_A_u.", ".prolora_B_u.", ".prolora_scale_u.")
FACTOR_B = (".prolora_B_u.", ".prolora_B_0.", ".lora_B.", ".tied_lora_B.")


def parameter_groups(
    model: nn.Module, learning_rate: float, *, b_ratio: float = 1.0, unshared_ratio: float = 1.0
) -> list[dict[str, Any]]:
    """The trainable parameters of `model` by learning rate; what no ratio speaks of trains at `learning_rate`.

    `b_ratio` is LoRA+'s ratio of the rate of B to that of A, here and for plain LoRA. `unshared_ratio` is that of the
    unshared ranks, whose gradient is one copy's, to the shared chunks, whose gradient is the sum of m or n copies'.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            of_b = b_ratio if any(part in name for part in FACTOR_B) else 1.0
            of_unshared = unshared_ratio if any(part in name for part in UNSHARED) else 1.0
            groups.setdefault(learning_rate * of_b * of_unshared, []).append(parameter)
    return [{"params": parameters, "lr": rate} for rate, parameters in groups.items()]
