"""METHODS: what a plan's method is to PEFT. A new method is one entry here and a test of its budget."""

from collections.abc import Callable

from peft import LoraConfig, PeftConfig

import prolora.peft  # noqa: F401  importing it registers PROLORA
from prolora.config import ProloraConfig
from prolora.plan import Method, Plan


def prolora_config(plan: Plan) -> PeftConfig:
    setting = plan.setting
    return ProloraConfig(
        r=setting.r,
        u=setting.u,
        m=setting.m,
        n=setting.n,
        lora_alpha=plan.alpha,
        lora_dropout=plan.dropout,
        target_modules=list(plan.target_modules),
        task_type="CAUSAL_LM",
    )


def lora_config(plan: Plan) -> PeftConfig:
    return LoraConfig(
        r=plan.setting.r,
        lora_alpha=plan.alpha,
        lora_dropout=plan.dropout,
        target_modules=list(plan.target_modules),
        bias="none",
        task_type="CAUSAL_LM",
    )


METHODS: dict[Method, Callable[[Plan], PeftConfig]] = {"prolora": prolora_config, "lora": lora_config}
