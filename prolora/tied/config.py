"""The configuration that PEFT saves beside a Tied LoRA adapter."""

from dataclasses import dataclass, field
from typing import Any, cast

from peft import PeftConfig, PeftType


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass
class TiedLoraConfig(PeftConfig):  # type: ignore[misc]  # PEFT is untyped
    """Tied LoRA: one A for all modules, one B for the modules of a name, and vectors that tell modules apart."""

    r: int = field(default=256, metadata=_help("Rank of the update."))
    lora_alpha: float = field(default=16, metadata=_help("The update is scaled by lora_alpha / r."))
    lora_dropout: float = field(default=0.0, metadata=_help("Dropout on the input of the adapter."))
    init_weights: bool = field(
        default=True, metadata=_help("Start from the unchanged model; False fills B as well, for tests.")
    )
    target_modules: list[str] | str | None = field(
        default=None, metadata=_help("Names or a pattern of the modules to adapt; they must read equal widths.")
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
    bias: str = field(default="none", metadata=_help("Which biases to train: none, all or tied_lora_only."))

    def __post_init__(self) -> None:
        super().__post_init__()
        # PEFT's enum has no such member in its source: prolora.peft adds it.
        self.peft_type = cast(PeftType, PeftType["TIED_LORA"])
        if type(self.r) is not int or self.r < 1:
            raise ValueError(f"`r` must be a whole number above 0, not {self.r!r}.")
        for name in ("target_modules", "exclude_modules"):
            modules = getattr(self, name)
            setattr(self, name, set(modules) if isinstance(modules, list) else modules)

    def to_dict(self) -> dict[str, Any]:
        """What is saved; sets in order, so that equal adapters are equal files with equal content hashes."""
        return {key: sorted(value) if isinstance(value, set) else value for key, value in super().to_dict().items()}
