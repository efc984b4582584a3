"""METHODS: what a plan's method is to PEFT. A new method is one entry here and one in prolora.methods."""

from collections.abc import Callable
from typing import Any

from peft import GraloraConfig, HiraConfig, LoraConfig, MissConfig, PeftConfig, VeraConfig

from prolora.peft import ProloraConfig, TiedLoraConfig
from prolora.plan import MethodName, Plan

Maker = Callable[[Plan], PeftConfig]


def prolora(**options: Any) -> Maker:
    """PRoLoRA, or with its config's switches one of its ablations."""

    def make(plan: Plan) -> PeftConfig:
        return ProloraConfig(**vars(plan.setting), **_lora_like(plan), **options)

    return make


def lora(**options: Any) -> Maker:
    return lambda plan: LoraConfig(r=plan.setting.r, bias="none", **_lora_like(plan), **options)


def tied_lora(plan: Plan) -> PeftConfig:
    return TiedLoraConfig(r=plan.setting.r, **_lora_like(plan))


def vera(plan: Plan) -> PeftConfig:
    """VeRA scales by its vectors alone. PEFT cuts the frozen factors of all shapes out of one pair; the paper of
    PRoLoRA drew a pair for each shape.
    """
    return VeraConfig(r=plan.setting.r, vera_dropout=plan.dropout, **_common(plan))


def miss(plan: Plan) -> PeftConfig:
    return MissConfig(r=plan.setting.r, miss_dropout=plan.dropout, **_common(plan))


def hira(plan: Plan) -> PeftConfig:
    return HiraConfig(r=plan.setting.r, hira_dropout=plan.dropout, **_common(plan))


def gralora(plan: Plan) -> PeftConfig:
    return GraloraConfig(r=plan.setting.r, alpha=plan.alpha, gralora_dropout=plan.dropout, gralora_k=2, **_common(plan))


def _lora_like(plan: Plan) -> dict[str, Any]:
    return {"lora_alpha": plan.alpha, "lora_dropout": plan.dropout, **_common(plan)}


def _common(plan: Plan) -> dict[str, Any]:
    return {"target_modules": list(plan.target_modules), "task_type": "CAUSAL_LM"}


METHODS: dict[MethodName, Maker] = {
    "prolora": prolora(),
    "prolora-unrotated": prolora(rotate=False),
    "prolora-unrectified": prolora(rectify=False),
    "clora": prolora(rotate=False),
    "rolora": prolora(),
    "prolora-dora": prolora(use_dora=True),
    "lora": lora(),
    "rslora": lora(use_rslora=True),
    "dora": lora(use_dora=True),
    "vera": vera,
    "tied-lora": tied_lora,
    "miss": miss,
    "hira": hira,
    "gralora": gralora,
}
