"""The command line: each command is a module of its own, and loads what it needs when it runs."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from prolora import cli_check, cli_convert, cli_inspect, cli_plan
from prolora.errors import StudioError

ABOUT = "Plan PRoLoRA adapters, check datasets, look into adapters, and turn them into one another."
CODES = (
    "Exit codes: 0 when done; 2 with a sentence on standard error when not; 1 when `check` rejects rows; 130 when "
    "stopped by Ctrl-C, with nothing half written."
)
INTERRUPTED = 130  # as shells count it


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files, and terminals, need not be UTF-8
    try:
        code = int(chosen.run(chosen))
        sys.stdout.flush()
    except (StudioError, OSError) as error:
        print(error, file=sys.stderr)
        _discard_unwritten()
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return INTERRUPTED
    return code


def _discard_unwritten() -> None:
    """What standard output did not take would be tried again, and fail without a sentence, when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("prolora", description=ABOUT, epilog=CODES)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in (cli_plan, cli_check, cli_inspect, cli_convert):
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
