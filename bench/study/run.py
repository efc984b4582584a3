"""One run of the study: train on the demo base in NF4 as a job does, and measure unseen rows one by one."""

import time
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
import transformers
from peft import PeftModel
from torch import nn

from bench.study.data import Tasks
from bench.study.design import TUNING_SEED, Run
from bench.training import train
from prolora.base_models import DEMO, find
from prolora.methods import at_budget
from prolora.peft import ProloraLinear
from prolora.plan import Plan
from worker import base
from worker.generate import response_losses
from worker.train import attach

BATCH, EPOCHS, LENGTH = 8, 2.0, 256
ALPHA, DROPOUT = 16.0, 0.1  # the paper's, for every rank


@dataclass(frozen=True)
class Outcome:
    """What a run found; `losses` are summed over the trained tokens of each measured row, in nats."""

    config: str
    method: str
    setting: tuple[int, int, int, int]
    learning_rate: float
    seed: int
    split: str  # validation, or the test rows that are reported
    parameters: int
    losses: tuple[float, ...]
    seconds: float
    task: str  # content hash of all rows

    @property
    def key(self) -> tuple[str, float, int]:
        return self.config, self.learning_rate, self.seed

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"losses": [round(loss, 3) for loss in self.losses], "seconds": round(self.seconds, 1)}


def plan_of(run: Run) -> Plan:
    shapes, config = find("demo").shapes, run.config
    fit = at_budget(config.method, shapes, config.rho * shapes.lora_unit())
    return Plan(
        method=config.method,
        setting=config.setting or fit.setting,
        base_model="demo",
        alpha=ALPHA,
        dropout=DROPOUT,
        learning_rate=run.learning_rate,
        epochs=EPOCHS,
        batch_size=BATCH,
        max_length=LENGTH,
        seed=run.seed,
        target_modules=fit.target_modules,
    )


def share_over_layers(model: PeftModel) -> None:
    """Let each projection have one chunk of A for all layers: the first layer's."""
    first: dict[str, nn.Parameter] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, ProloraLinear):
            chunks = cast(nn.ParameterDict, layer.prolora_A_0)
            chunks["default"] = first.setdefault(name.rpartition(".")[2], chunks["default"])


def outcome(run: Run, tasks: Tasks) -> Outcome:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    started, plan = time.perf_counter(), plan_of(run)
    model = attach(base.load(DEMO, plan.quantization, LENGTH), plan)
    if run.config.over_layers:
        share_over_layers(model)
    train(model, plan, tasks.train)
    split = "validation" if run.seed == TUNING_SEED else "test"
    losses = response_losses(model.eval(), getattr(tasks, split))
    return Outcome(
        config=run.config.name,
        method=plan.method,
        setting=(plan.setting.r, plan.setting.u, plan.setting.m, plan.setting.n),
        learning_rate=run.learning_rate,
        seed=run.seed,
        split=split,
        parameters=model.num_parameters(only_trainable=True),
        losses=tuple(losses),
        seconds=time.perf_counter() - started,
        task=tasks.content_hash,
    )
