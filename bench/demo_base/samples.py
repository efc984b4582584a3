"""Write the sample dataset: `python -m bench.demo_base.samples static/samples/tickets.jsonl`."""

import json
import random
import sys
from pathlib import Path

from bench.demo_base import world

SEED, ROWS = 7, 480


def main() -> None:
    rng = random.Random(SEED)
    rows = [json.dumps(world.ticket(rng)) for _ in range(ROWS)]
    Path(sys.argv[1]).write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
