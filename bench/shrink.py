"""What shrinking a trained LoRA costs: held-out loss before and after, against SVD truncation of equal parameters.

    python -m bench.shrink           # prints a table and writes bench/results/shrink.json; under two minutes

A LoRA of rank 16 learns the sample tickets on the demo base. Then it becomes the nearest PRoLoRA of half and of a
quarter of its parameters (the planner's first choice) and, beside it, the LoRA that the truncated singular value
decomposition of each update gives, which of its rank is the nearest there is. A third has nearly all of the budget in
unshared ranks.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel

from bench import training
from bench.machine import hardware
from prolora.base_models import DEMO
from prolora.chat import ChatTokenizer
from prolora.dataset import read
from prolora.plan import Plan, Setting
from prolora.shrink import Shrunk, to_nearest
from worker import base
from worker.examples import Example, encode_row
from worker.generate import response_losses
from worker.train import attach

RESULTS = Path(__file__).parent / "results" / "shrink.json"
TICKETS = Path(__file__).parents[1] / "static" / "samples" / "tickets.jsonl"
RANK, SHRUNK_TO = 16, (8, 4)
LENGTH, HELD_OUT, BATCH, EPOCHS, RATE = 128, 120, 8, 3.0, 2e-3
# All but one of the ranks that the budget buys unshared, which is as near to truncation as sharing comes.
UNSHARED = {rank: Setting(rank - 1 + 7, rank - 1, 7, 7) for rank in SHRUNK_TO}


def examples() -> list[Example]:
    tokenizer = ChatTokenizer(DEMO)
    return [encode_row(tokenizer, row, LENGTH) for row in read(TICKETS).rows]


def train(rows: list[Example], folder: Path) -> None:
    """A LoRA as a job trains it."""
    plan = Plan(
        method="lora",
        setting=Setting.lora(RANK),
        base_model="demo",
        quantization="none",
        learning_rate=RATE,
        epochs=EPOCHS,
        batch_size=BATCH,
        max_length=LENGTH,
    )
    model = attach(base.load(DEMO, plan.quantization, LENGTH), plan)
    training.train(model, plan, rows)
    model.save_pretrained(folder / "lora")


def loss(rows: list[Example], adapter: Path | None) -> float:
    """Nats a learned token of unseen rows."""
    model = base.load(DEMO, "none", LENGTH)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    return sum(response_losses(model.eval(), rows)) / sum(example.trained for example in rows)


def described(done: Shrunk, held_out: float) -> dict[str, Any]:
    worst = max(done.modules, key=lambda each: each.error)
    return {
        "setting": str(done.setting),
        "parameters": done.after,
        "relative_error": round(done.error, 4),
        "worst_module": [worst.module, round(worst.error, 4)],
        "held_out_loss": round(held_out, 4),
    }


def report(folder: Path) -> dict[str, Any]:
    started, rows = time.perf_counter(), examples()
    learn, unseen = rows[:-HELD_OUT], rows[-HELD_OUT:]
    train(learn, folder)
    trained, shrunk = time.perf_counter(), []
    for rank in SHRUNK_TO:
        rivals: tuple[tuple[str, Setting | str], ...] = (
            ("PRoLoRA", f"rank {rank}"),
            ("PRoLoRA, mostly unshared", UNSHARED[rank]),
            ("SVD", Setting.lora(rank)),
        )
        for method, wanted in rivals:
            target = folder / f"{method}-{rank}"
            done = to_nearest(folder / "lora", target, wanted)
            shrunk.append({"method": method} | described(done, loss(unseen, target)))
    return {
        "about": {"hardware": hardware(), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "rows": {"learned": len(learn), "held_out": len(unseen)},
        "base_loss": round(loss(unseen, None), 4),
        "lora": {"rank": RANK, "parameters": done.before, "held_out_loss": round(loss(unseen, folder / "lora"), 4)},
        "shrunk": shrunk,
        "seconds": {"training": round(trained - started, 1), "all": round(time.perf_counter() - started, 1)},
    }


def main() -> None:
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        found = report(Path(folder))
    lora = found["lora"]
    print(f"{'base':<26}{'':>16}{'':>12}{found['base_loss']:>9.4f} nats")
    print(f"{'LoRA':<26}{'r=' + str(RANK):>16}{lora['parameters']:>12,}{lora['held_out_loss']:>9.4f}")
    for each in found["shrunk"]:
        print(
            f"{each['method']:<26}{each['setting']:>16}{each['parameters']:>12,}{each['held_out_loss']:>9.4f}"
            f"{each['relative_error']:>9.1%} away"
        )
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
