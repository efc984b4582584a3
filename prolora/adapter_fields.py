"""What the fields of adapter_config.json may hold, of either method. No torch."""

import re
from collections.abc import Mapping
from typing import Any

from prolora.errors import PlanError
from prolora.layout import Layout

FLAGS = ("rotate", "rectify", "scale_unshared", "use_dora", "use_rslora", "fan_in_fan_out")
FLOAT32 = 2.0**128  # the least that float32 cannot hold


def check_fields(config: Mapping[str, Any]) -> None:
    """Raise PlanError, naming the field, for one that would fail where it is used or be taken for something else."""
    for field in FLAGS:
        if type(config.get(field)) not in (bool, type(None)):  # a text such as "false" would hold
            raise PlanError(f"{field} must be true or false, not {_short(config[field])}.")
    if type(config.get("bias")) not in (str, type(None)):
        raise PlanError(f"bias must be a word such as none, not {_short(config['bias'])}.")
    _check_scale("lora_alpha", config.get("lora_alpha", 1))
    for module, alpha in _patterns("alpha_pattern", config).items():
        _check_scale(f"alpha_pattern of {module}", alpha)
    if config["peft_type"] == "PROLORA":
        _check_settings(config)
    else:
        _check_ranks(config)


def _check_settings(config: Mapping[str, Any]) -> None:
    """Of all modules, and of each pattern, whether the file has such a module or not."""
    Layout.of({**config, "setting_pattern": {}}, "")
    for own in _patterns("setting_pattern", config).values():
        Layout.of({**config, "setting_pattern": {"": own}}, "")


def _check_ranks(config: Mapping[str, Any]) -> None:
    _check_rank("r", config.get("r"))
    for module, rank in _patterns("rank_pattern", config).items():
        _check_rank(f"rank_pattern of {module}", rank)


def _check_rank(field: str, rank: Any) -> None:
    if type(rank) is not int or rank < 1:
        raise PlanError(f"{field} must be a whole number from 1, not {_short(rank)}.")


def _check_scale(field: str, alpha: Any) -> None:
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < FLOAT32:  # NaN is never less
        raise PlanError(f"{field} must be a number, not {_short(alpha)}, and below 2^128.")


def _patterns(field: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    patterns = config.get(field) or {}
    if not isinstance(patterns, Mapping):
        raise PlanError(f'{field} must be an object such as {{"q_proj": …}}, not {_short(patterns)}.')
    for pattern in patterns:
        try:
            re.compile(f"(.*\\.)?({pattern})$")
        except (re.error, RecursionError, OverflowError) as error:
            raise PlanError(f"{field} has {_short(pattern)}, which is no regular expression: {error}.") from error
    return patterns


def _short(value: Any) -> str:
    try:
        return repr(value)[:60]
    except ValueError:  # more digits than Python prints
        return "such a number"
