"""A worker of an older version, which knows no probe yet: `python -m tests.faults.older`."""

from worker.__main__ import main
from worker.steps import STEPS

if __name__ == "__main__":
    del STEPS["probe"]
    main(["--hostname", "older@%h"])
