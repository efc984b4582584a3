"""Write the sample dataset: `python -m bench.demo_base.samples static/samples/tickets.jsonl`."""

import json
import random
import sys
from pathlib import Path

from bench.demo_base import world

SEED, ROWS = 7, 480


def write(path: Path) -> None:
    rng = random.Random(SEED)
    path.write_text("".join(json.dumps(world.ticket(rng)) + "\n" for _ in range(ROWS)))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
