"""What is to be trained: a setting (r, u, m, n) and a plan around it. Both validate themselves."""

import dataclasses
from dataclasses import dataclass
from math import gcd, inf
from typing import Any, Literal, Self, get_args

from prolora.errors import PlanError

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# What other architectures of prolora.base_models call theirs: queries, keys and values in one, networks without gates.
FUSED = ("qkv_proj", "gate_up_proj", "query_key_value")
UNGATED = ("dense", "fc1", "fc2", "dense_h_to_4h", "dense_4h_to_h", "c_fc", "c_proj")
MODULES = PROJECTIONS + FUSED + UNGATED
MethodName = Literal[
    "prolora",
    "prolora-unrotated",
    "prolora-unrectified",
    "clora",
    "rolora",
    "prolora-dora",
    "lora",
    "rslora",
    "dora",
    "vera",
    "tied-lora",
    "miss",
    "hira",
    "gralora",
]
SHARING: tuple[MethodName, ...] = (
    "prolora",
    "prolora-unrotated",
    "prolora-unrectified",
    "clora",
    "rolora",
    "prolora-dora",
)
UNROTATED: tuple[MethodName, ...] = ("prolora-unrotated", "clora")
NOTHING_UNSHARED: tuple[MethodName, ...] = ("clora", "rolora")
TIED = ("q_proj", "k_proj", "v_proj")  # all that Tied LoRA adapts: one A needs one width
Quantization = Literal["nf4", "none"]
MOST = {"epochs": 1000, "batch_size": 4096, "max_length": 131072}
MOST_VALIDATION = 0.5
SEEDS = 2**32  # how many numpy takes


@dataclass(frozen=True)
class Setting:
    """Rank r, of which u ranks are unshared; the others share one chunk m times over A and n times over B.

    u = r is plain LoRA; m and n then mean nothing and are 1.
    """

    r: int
    u: int
    m: int
    n: int

    def __post_init__(self) -> None:
        for name in ("r", "u", "m", "n"):
            if type(getattr(self, name)) is not int:  # True is an int too
                raise PlanError(f"{name} must be a whole number, not {getattr(self, name)!r}.")
        if self.r < 1:
            raise PlanError(f"Rank r must be at least 1, not {self.r}.")
        if not 0 <= self.u <= self.r:
            raise PlanError(f"Unshared ranks u must lie between 0 and r = {self.r}, not {self.u}.")
        if self.m < 1 or self.n < 1:
            raise PlanError(f"Sharing rates m and n must be at least 1, not {self.m} and {self.n}.")

    @classmethod
    def lora(cls, rank: int) -> Self:
        return cls(rank, rank, 1, 1)

    @property
    def shared(self) -> int:
        """R = r - u, the ranks that live in the shared chunk."""
        return self.r - self.u

    @property
    def rolls_are_distinct(self) -> bool:
        """No two of the m (or n) rolled copies of a chunk are alike."""
        if not self.shared:
            return True
        return all(self.shared // gcd(self.shared, max(self.shared // rate, 1)) >= rate for rate in (self.m, self.n))

    def __str__(self) -> str:
        return f"r={self.r}" if self.u == self.r else f"({self.r}, {self.u}, {self.m}, {self.n})"


def check_method(method: str, setting: Setting) -> None:
    """Raise for a method that is not known here, or a setting that it cannot have."""
    if method not in get_args(MethodName):
        raise PlanError(f"There is no method called {method}. Choose {', '.join(get_args(MethodName))}.")
    if method not in SHARING and setting.u != setting.r:
        raise PlanError(f"The method {method} has no shared ranks: u must equal r.")
    if method in NOTHING_UNSHARED and setting.u:
        raise PlanError(f"The method {method} has no unshared ranks: u must be 0, not {setting.u}.")
    if method == "gralora" and setting.r % 2:
        raise PlanError(f"GraLoRA cuts its rank in two: r must be even, not {setting.r}.")


@dataclass(frozen=True)
class Plan:
    """One training run, whole: what is needed to do it again, but for the dataset."""

    method: MethodName
    setting: Setting  # r = u says the rank of a method that shares nothing
    base_model: str  # a name of the catalogue, or a local folder
    quantization: Quantization = "nf4"
    alpha: float = 16.0
    dropout: float = 0.0
    learning_rate: float = 2e-4
    b_lr_ratio: float = 1.0  # LoRA+: the learning rate of B over that of A
    unshared_lr_ratio: float = 1.0  # that of the unshared ranks over that of the shared chunks
    epochs: float = 3.0
    batch_size: int = 16
    max_length: int = 512  # tokens; longer examples are cut
    seed: int = 1
    target_modules: tuple[str, ...] = PROJECTIONS
    accumulation: int = 1  # passes that a batch is computed in, one after the other; changes memory, not the result
    packing: bool = False  # the rows of a batch lie one behind the other instead of each in a padded line
    group_by_length: bool = True  # rows of like length share a batch
    gradient_checkpointing: bool = False  # activations are computed twice instead of kept
    validation_share: float = 0.0  # of the training rows, measured during the run and not trained on
    evaluate_every: int = 0  # steps between two measurements; 0: a twentieth of the run
    patience: int = 0  # measurements without a better one, after which training ends; 0: it runs to its end

    def __post_init__(self) -> None:
        check_method(self.method, self.setting)
        self._check_numbers()
        if self.quantization not in get_args(Quantization):
            raise PlanError(f"Quantisation is {' or '.join(get_args(Quantization))}, not {self.quantization!r}.")
        self._check_road()
        possible = TIED if self.method == "tied-lora" else MODULES
        if not self.target_modules or set(self.target_modules) - set(possible):
            raise PlanError(f"Target modules of {self.method} must be among {', '.join(possible)}.")

    def _check_numbers(self) -> None:
        for name in ("batch_size", "max_length", "seed", "accumulation", "evaluate_every", "patience"):
            if type(getattr(self, name)) is not int:  # True is an int too
                raise PlanError(f"The {name.replace('_', ' ')} must be a whole number, not {getattr(self, name)!r}.")
        for name in ("alpha", "learning_rate", "b_lr_ratio", "unshared_lr_ratio", "epochs", "batch_size"):
            if not 0 < getattr(self, name) < inf:
                raise PlanError(f"The {name.replace('_', ' ')} must be above 0 and finite, not {getattr(self, name)}.")
        for name, most in MOST.items():
            if getattr(self, name) > most:
                raise PlanError(f"The {name.replace('_', ' ')} must be at most {most}, not {getattr(self, name)}.")
        if not 0 <= self.seed < SEEDS:
            raise PlanError(f"The seed must lie between 0 and {SEEDS - 1}, not {self.seed}.")
        if not 0 <= self.dropout < 1:
            raise PlanError(f"Dropout must lie between 0 and 1, not {self.dropout}.")
        if self.max_length < 16:
            raise PlanError(f"The cut-off must be at least 16 tokens, not {self.max_length}.")

    def _check_road(self) -> None:
        """How the batches are computed, and when the run ends."""
        for name in ("packing", "group_by_length", "gradient_checkpointing"):
            if type(getattr(self, name)) is not bool:
                raise PlanError(
                    f"{name.replace('_', ' ').capitalize()} must be on or off, not {getattr(self, name)!r}."
                )
        for name in ("evaluate_every", "patience"):
            if getattr(self, name) < 0:
                raise PlanError(f"The {name.replace('_', ' ')} must be 0 or more, not {getattr(self, name)}.")
        if not 0 <= self.validation_share <= MOST_VALIDATION:
            raise PlanError(
                f"The validation share must lie between 0 and {MOST_VALIDATION}, not {self.validation_share}."
            )
        if self.patience and not self.validation_share:
            raise PlanError("Early stopping needs rows to measure on: give a validation share above 0.")
        self.rows_at_once(1)

    def rows_at_once(self, devices: int) -> int:
        """Rows that one of `devices` computes in one pass."""
        parts = self.accumulation * devices
        if self.accumulation < 1 or self.batch_size % parts:
            raise PlanError(
                f"A batch of {self.batch_size} rows cannot be computed in {self.accumulation} passes on {devices} "
                "devices: choose a batch size that is a multiple of passes times devices."
            )
        return self.batch_size // parts

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**{**data, "setting": Setting(**data["setting"]), "target_modules": tuple(data["target_modules"])})
