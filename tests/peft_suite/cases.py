"""Our configurations, as rows of the suite's lists."""

from typing import Any

from prolora.peft import ProloraConfig

SMALL = {"r": 8, "u": 2, "m": 2, "n": 2}

# The suite's MLP has the layers lin0 (10 to 20) and lin1 (20 to 2).
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": "lin0"},
    "a list of modules": {"target_modules": ["lin0", "lin1"]},
    "undivided widths": {"target_modules": ["lin0"], "m": 3, "n": 3},
    "nothing unshared": {"target_modules": ["lin0"], "u": 0},
    "LoRA": {"target_modules": ["lin0"], "u": 8, "m": 1, "n": 1},
    "dropout": {"target_modules": ["lin0"], "lora_dropout": 0.1},
    "modules to save": {"target_modules": ["lin0"], "modules_to_save": ["lin1"]},
    "not rotated": {"target_modules": ["lin0"], "rotate": False},
    "rsLoRA and patterns": {
        "target_modules": ["lin0", "lin1"],
        "use_rslora": True,
        "setting_pattern": {"lin0": {"r": 6, "u": 3, "m": 3, "n": 3}},
        "alpha_pattern": {"lin1": 4},
    },
    "scalars": {"target_modules": ["lin0"], "scale_unshared": True},
    "DoRA": {"target_modules": ["lin0"], "use_dora": True},
}
CUSTOM = [(f"PRoLoRA, {name}", "MLP", ProloraConfig, SMALL | fields) for name, fields in OPTIONS.items()]


def transformer(task_type: str | None) -> list[tuple[type, dict[str, Any]]]:
    """Rows for real models, whose modules are found by the model's type."""
    task = {"task_type": task_type} if task_type else {}
    return [(ProloraConfig, SMALL | task | {"target_modules": None, "lora_dropout": 0.1})]


ONE, OTHER = SMALL | {"init_weights": False}, {"r": 6, "u": 1, "m": 3, "n": 3, "init_weights": False}
PAIRS = [
    ("the same layer", {"target_modules": ["lin0"]}, {"target_modules": ["lin0"]}),
    ("different layers", {"target_modules": ["lin0"]}, {"target_modules": ["lin1"]}),
]
SEVERAL_ACTIVE = [
    (f"PRoLoRA{of_dora}, {name}", "prolora", ProloraConfig, ONE | first | dora, ONE | second | dora)
    for of_dora, dora in (("", {}), ("-DoRA", {"use_dora": True}))
    for name, first, second in PAIRS
]
MIXED = [
    (
        "PRoLoRA mixed adapter",
        ProloraConfig(target_modules=["lin0"], **ONE),
        ProloraConfig(target_modules=["lin0"], **OTHER),
    )
]
QUANTIZED = [
    (ProloraConfig, SMALL),
    (ProloraConfig, SMALL | {"target_modules": ["q_proj", "v_proj"], "use_dora": True}),
]
