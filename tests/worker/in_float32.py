"""Losses of a short run in float32, where the order of sums is all that can differ; by torchrun in several processes.

`python -m tests.worker.in_float32 BASE PLAN` prints them from the first process.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PrinterCallback

from prolora.chat import ChatTokenizer
from prolora.plan import Plan
from tests.worker.conftest import TEXTS, rows_of
from worker import base, ranks
from worker.examples import encode
from worker.train import attach, trainer_of

LONG = " And why is that so, if I may ask?"
# Lengths that differ, and a last batch that is not full.
ROWS = rows_of([(question + LONG * (i % 4), answer) for i, (question, answer) in enumerate([*TEXTS, *TEXTS[:3]])])


def losses(folder: Path, plan: Plan) -> list[float]:
    """The loss and the norm of the gradient of each step."""
    examples = encode(ChatTokenizer(folder), ROWS, plan.max_length)
    model = attach(base.load(folder, "none", plan.max_length).float(), plan)
    with TemporaryDirectory() as run_dir:
        trainer = trainer_of(plan, model, examples, Path(run_dir))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    told = [entry for entry in trainer.state.log_history if "loss" in entry]
    return [entry[name] for entry in told for name in ("loss", "grad_norm")]


if __name__ == "__main__":
    found = losses(Path(sys.argv[1]), Plan.from_json(json.loads(sys.argv[2])))
    if ranks.leads():
        print(json.dumps(found))
