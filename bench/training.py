"""Training without a job: the trainer that jobs use, without rows, checkpoints or talk."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from peft import PeftModel
from transformers import PrinterCallback

from prolora.plan import Plan
from worker.examples import Example
from worker.train import trainer_of


def train(model: PeftModel, plan: Plan, examples: Sequence[Example]) -> None:
    """Train the adapter in place."""
    with TemporaryDirectory() as folder:
        trainer = trainer_of(plan, model, examples, Path(folder))
        trainer.args.set_save("no")
        trainer.remove_callback(PrinterCallback)
        trainer.train()
