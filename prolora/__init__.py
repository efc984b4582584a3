"""PRoLoRA: the method as a PEFT tuner, its planner, its export and its vLLM plugin.

Names resolve on first use, so that planning and checking files never load torch.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "BaseModel": "prolora.base_models",
    "BaseModelError": "prolora.errors",
    "ChatTokenizer": "prolora.chat",
    "DatasetError": "prolora.errors",
    "Facts": "prolora.planner",
    "Plan": "prolora.plan",
    "PlanError": "prolora.errors",
    "ProloraConfig": "prolora.peft",
    "Setting": "prolora.plan",
    "StudioError": "prolora.errors",
    "Suggestion": "prolora.planner",
    "Suggestions": "prolora.planner",
    "find": "prolora.base_models",
    "parse_budget": "prolora.budget",
    "suggest": "prolora.planner",
    "to_lora": "prolora.export",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'prolora' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
