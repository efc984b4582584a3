"""What adapter_config.json of one method says in terms of the other. No torch."""

from typing import Any

from prolora.adapter_file import CONFIG, FORMAT, PREFIX, AdapterError
from prolora.layout import of_pattern
from prolora.plan import Setting

# Fields that mean the same to both methods.
COMMON = (
    "alpha_pattern",
    "base_model_name_or_path",
    "bias",
    "exclude_modules",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "r",
    "revision",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
)
# Options of PEFT's LoRA with which the adapter is more than W + scaling * B A on linear layers.
MORE_THAN_FACTORS = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
)
# Starts of PEFT's LoRA that take the start out of the base, so that the saved base is no longer the adapter's.
CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
# What a file that does not say lora_alpha means.
LORA_ALPHA, PROLORA_ALPHA = 8, 16
BIASES = {"prolora_only": "lora_only"}


def lora_config(config: dict[str, Any]) -> dict[str, Any]:
    """PEFT's configuration of the LoRA that a PRoLoRA adapter unfolds to."""
    common = {"lora_alpha": PROLORA_ALPHA} | _common(config)
    bias = common.get("bias", "none")
    # Every pattern, since the first that matches counts: one of u alone still hides those behind it.
    ranks = {key: own.get("r", config["r"]) for key, own in (config.get("setting_pattern") or {}).items()}
    return common | {
        "peft_type": "LORA",
        "bias": BIASES.get(bias, bias),
        "inference_mode": True,
        "init_lora_weights": True,
        "fan_in_fan_out": False,
        "rank_pattern": ranks,
    }


def prolora_config(config: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """The configuration of a PRoLoRA of one setting throughout that takes a LoRA's place."""
    common = {"lora_alpha": LORA_ALPHA} | _common(config)
    bias = common.get("bias", "none")
    return common | {
        "peft_type": "PROLORA",
        "bias": {lora: ours for ours, lora in BIASES.items()}.get(bias, bias),
        "inference_mode": True,
        "r": setting.r,
        "u": setting.u,
        "m": setting.m,
        "n": setting.n,
        "rotate": True,
        "rectify": True,
        "format_version": FORMAT,
    }


def scaling(config: dict[str, Any], module: str) -> float:
    """alpha / r of one module of a LoRA, or alpha / sqrt(r); the module is named as the file names it."""
    name = module.removeprefix(PREFIX)
    rank = of_pattern(config.get("rank_pattern") or {}, name, config["r"])
    alpha = of_pattern(config.get("alpha_pattern") or {}, name, config.get("lora_alpha", LORA_ALPHA))
    return float(alpha / (rank**0.5 if config.get("use_rslora") else rank))


def check_factors_alone(config: dict[str, Any]) -> None:
    """Raise for a LoRA that is more than two factors beside each of some linear layers."""
    if used := [field for field in MORE_THAN_FACTORS if config.get(field)]:
        raise AdapterError(f"{CONFIG} uses {', '.join(used)}, which only PEFT itself can merge or convert.")
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(CHANGES_THE_BASE):
        raise AdapterError(
            f"The adapter was started by init_lora_weights = {start}, which changes the base. Convert it to a plain "
            "LoRA first: PEFT's save_pretrained does so with path_initial_model_for_weight_conversion."
        )


def _common(config: dict[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in COMMON if name in config} | {
        "alpha_pattern": config.get("alpha_pattern") or {}
    }
