"""Which runs the study has, written out before any of them is made.

Learning rates are chosen at rho = 8 on the validation rows with a seed of their own; the rows that are reported are
met only by runs whose learning rate is settled. Two readings follow: LoRA's learning rate for everybody, as the paper
did, and each method's own. An ablation of PRoLoRA keeps PRoLoRA's, so that it differs in one thing alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from prolora.plan import MethodName, Setting

RHO = 8  # the LoRA rank whose budget most of the study has
TUNING_SEED, SEEDS = 0, (1, 2, 3)


@dataclass(frozen=True)
class Config:
    """One line of the study's tables."""

    name: str
    method: MethodName
    rho: int  # rank of the LoRA of this budget
    setting: Setting | None = None  # None: the one that the planner chooses for this budget
    tuned_as: str = ""  # the line whose learning rate it takes
    over_layers: bool = False  # the chunks of A are one for all layers (the paper's section 6)


@dataclass(frozen=True)
class Run:
    config: Config
    learning_rate: float
    seed: int

    @property
    def key(self) -> tuple[str, float, int]:
        return self.config.name, self.learning_rate, self.seed


def _shared(name: str, method: MethodName, u: int, rate: int, tuned_as: str = "PRoLoRA 8") -> Config:
    """A setting of rank 32 at the parameters of LoRA r = 8, as in the paper's Table 2 and Figure 2."""
    return Config(name, method, RHO, Setting(32, u, rate, rate), tuned_as)


LORAS = tuple(Config(f"LoRA {rho}", "lora", rho, Setting.lora(rho), "LoRA 8") for rho in (2, 8, 16))
PROLORAS = tuple(Config(f"PRoLoRA {rho}", "prolora", rho, None, "PRoLoRA 8") for rho in (2, 4, 8, 16))
SHARING = (
    _shared("CLoRA", "clora", 0, 4, "CLoRA"),
    _shared("RoLoRA", "rolora", 0, 4, "RoLoRA"),
)
ABLATIONS = (
    _shared("PRoLoRA without rotation", "prolora-unrotated", 4, 7),
    _shared("PRoLoRA without rectified start", "prolora-unrectified", 4, 7),
)
PEERS = (Config("VeRA", "vera", RHO, None, "VeRA"), Config("Tied LoRA", "tied-lora", RHO, None, "Tied LoRA"))
UNSHARED = (_shared("PRoLoRA u = 2", "prolora", 2, 5), _shared("PRoLoRA u = 6", "prolora", 6, 13))
# One chunk of A serves the demo base's four layers, so that it may be three times as wide at the same parameters.
OVER_LAYERS = (Config("PRoLoRA over layers", "prolora", RHO, Setting(32, 4, 2, 7), "PRoLoRA 8", over_layers=True),)
CONFIGS = (*LORAS, *PROLORAS, *SHARING, *ABLATIONS, *PEERS, *UNSHARED, *OVER_LAYERS)
BY_NAME = {config.name: config for config in CONFIGS}

# CLoRA's was taken one step further down when its lowest had come out best.
GRIDS: dict[str, tuple[float, ...]] = {
    "LoRA 8": (2e-3, 4e-3, 8e-3, 16e-3),
    "PRoLoRA 8": (8e-3, 16e-3, 32e-3, 64e-3),
    "CLoRA": (4e-3, 8e-3, 16e-3, 32e-3),
    "RoLoRA": (8e-3, 16e-3, 32e-3),
    "VeRA": (3e-2, 1e-1, 3e-1),
    "Tied LoRA": (2e-3, 8e-3, 32e-3),
}


def tuning() -> list[Run]:
    return [Run(BY_NAME[name], rate, TUNING_SEED) for name, rates in GRIDS.items() for rate in rates]


def reported(best: Mapping[str, float]) -> list[Run]:
    """The runs of both readings, given each tuned line's best learning rate; a run that serves both is there once."""
    own = [(config, best[config.tuned_as]) for config in CONFIGS]
    as_the_paper = [(config, best["LoRA 8"]) for config in (*PROLORAS, *SHARING, *ABLATIONS)]
    pairs = dict.fromkeys([*own, *as_the_paper])
    return [Run(config, rate, seed) for config, rate in pairs for seed in SEEDS]
