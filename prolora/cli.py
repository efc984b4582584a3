"""The command line: each command is a module of its own, and loads what it needs when it runs."""

import argparse
import sys
from collections.abc import Sequence

from prolora import cli_check, cli_convert, cli_inspect, cli_plan
from prolora.errors import StudioError

ABOUT = "Plan PRoLoRA adapters, check datasets, look into adapters, and turn them into one another."
CODES = "Exit codes: 0 when done; 2 with a sentence on standard error when not; 1 when `check` rejects rows."


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except (StudioError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("prolora", description=ABOUT, epilog=CODES)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in (cli_plan, cli_check, cli_inspect, cli_convert):
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
