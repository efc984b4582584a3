"""The configuration that PEFT saves beside a PRoLoRA adapter."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from peft import PeftConfig, PeftType

from prolora.adapter_fields import check_fields
from prolora.adapter_file import CONFIG, FORMAT
from prolora.errors import PlanError
from prolora.layout import Axis, Layout, of_pattern
from prolora.plan import Setting

MOST_DROPOUT = 0.999  # more would leave nothing of an input
BIASES = ("none", "all", "prolora_only")


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass
class ProloraConfig(PeftConfig):  # type: ignore[misc]  # PEFT is untyped
    """Partially rotated low-rank adaptation: r ranks, u of them unshared, the others shared m and n times."""

    r: int = field(default=32, metadata=_help("Rank of the update."))
    u: int = field(default=4, metadata=_help("Ranks that are not shared; u = r is plain LoRA, u = 0 is RoLoRA."))
    m: int = field(default=7, metadata=_help("How often the chunk of A is repeated along the inputs."))
    n: int = field(default=7, metadata=_help("How often the chunk of B is repeated along the outputs."))
    lora_alpha: float = field(default=16, metadata=_help("The update is scaled by lora_alpha / r."))
    lora_dropout: float = field(default=0.0, metadata=_help("Dropout on the input of the adapter."))
    use_rslora: bool = field(default=False, metadata=_help("Scale by lora_alpha / sqrt(r) instead."))
    rotate: bool = field(default=True, metadata=_help("Roll the copies; without it this is the ablation PRoLoRA^-r."))
    rectify: bool = field(
        default=True, metadata=_help("Start the chunk by the full fan-in; without it this is PRoLoRA^-i.")
    )
    share_along: Axis = field(
        default="hidden", metadata=_help("The dimension that the copies fill; 'rank' is a sibling of Table 4.")
    )
    rotate_along: Axis = field(
        default="rank", metadata=_help("The dimension that copies are rolled along; 'hidden' is a sibling of Table 4.")
    )
    scale_unshared: bool = field(
        default=False, metadata=_help("Train one scalar for each unshared rank (the paper's section 6).")
    )
    use_dora: bool = field(
        default=False, metadata=_help("Train the length of each row of the adapted weight as well, as DoRA does.")
    )
    setting_pattern: dict[str, dict[str, int]] = field(
        default_factory=dict,
        metadata=_help("Other r, u, m, n for the modules whose names end in, or match, a key: {'q_proj': {'u': 8}}."),
    )
    alpha_pattern: dict[str, float] = field(
        default_factory=dict, metadata=_help("Another lora_alpha for the modules whose names end in, or match, a key.")
    )
    format_version: int = field(default=FORMAT, metadata=_help("Version of the file format."))
    init_weights: bool = field(
        default=True, metadata=_help("Start from the unchanged model; False fills B as well, for tests.")
    )
    target_modules: list[str] | str | None = field(
        default=None, metadata=_help("Names or a pattern of the modules to adapt, or 'all-linear'.")
    )
    exclude_modules: list[str] | str | None = field(
        default=None, metadata=_help("Names or a pattern of modules to leave alone.")
    )
    modules_to_save: list[str] | None = field(default=None, metadata=_help("Modules to train and save whole."))
    layers_to_transform: list[int] | int | None = field(
        default=None, metadata=_help("Indices of the layers to adapt; all by default.")
    )
    layers_pattern: list[str] | str | None = field(
        default=None, metadata=_help("Name of the list of layers, where it is not a common one.")
    )
    bias: str = field(default="none", metadata=_help("Which biases to train: none, all or prolora_only."))

    awaits_weights = False  # read from an adapter's folder whose weights are not loaded yet; no field, never saved

    def __post_init__(self) -> None:
        super().__post_init__()
        # PEFT's enum has no such member in its source: prolora.peft adds it.
        self.peft_type = cast(PeftType, PeftType["PROLORA"])
        self.target_modules = _unordered(self.target_modules)
        self.exclude_modules = _unordered(self.exclude_modules)
        for name in ("layers_to_transform", "layers_pattern"):
            if isinstance(self.target_modules, str) and getattr(self, name) is not None:
                raise ValueError(f"`{name}` cannot be used when `target_modules` is a pattern.")
        if type(self.format_version) is not int or not 1 <= self.format_version <= FORMAT:
            raise PlanError(
                f"format_version is {self.format_version!r}; this prolora reads 1 to {FORMAT}. Install a newer one."
            )
        check_fields(vars(self))
        if not isinstance(self.lora_dropout, int | float) or not 0 <= self.lora_dropout <= MOST_DROPOUT:
            raise PlanError(f"lora_dropout must be a number from 0 to {MOST_DROPOUT}, not {self.lora_dropout!r}.")
        if self.bias not in BIASES:
            raise PlanError(f"bias must be one of {', '.join(BIASES)}, not {self.bias!r}.")

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> PeftConfig:
        config = super().from_pretrained(*args, **kwargs)
        config.awaits_weights = True
        return config

    def to_dict(self) -> dict[str, Any]:
        """What is saved; sets in order, so that equal adapters are equal files with equal content hashes."""
        return {key: sorted(value) if isinstance(value, set) else value for key, value in super().to_dict().items()}

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """As PEFT does, but with patterns in the order they have, which PEFT sorts: the first that matches counts."""
        super().save_pretrained(str(save_directory), **kwargs)
        path = Path(save_directory) / CONFIG
        ordered = {"setting_pattern": self.setting_pattern, "alpha_pattern": self.alpha_pattern}
        path.write_text(json.dumps(json.loads(path.read_bytes()) | ordered, indent=2))

    @property
    def setting(self) -> Setting:
        """Of every module that no pattern names."""
        return Setting(self.r, self.u, self.m, self.n)

    def layout_of(self, module: str) -> Layout:
        """What is stored of the module of this full name; its own pattern comes before the setting of all."""
        return Layout.of(vars(self), module)

    def scaling_of(self, module: str) -> float:
        """alpha / r, or alpha / sqrt(r) by rsLoRA, with the full rank r of the module."""
        alpha = of_pattern(self.alpha_pattern, module, self.lora_alpha)
        rank = self.layout_of(module).setting.r
        return float(alpha / (rank**0.5 if self.use_rslora else rank))


def _unordered(modules: list[str] | str | None) -> list[str] | str | None:
    """PEFT looks names up in a set, whatever its own annotations say."""
    return cast("list[str]", set(modules)) if isinstance(modules, list) else modules
