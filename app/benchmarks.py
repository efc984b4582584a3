"""The test items that datasets are searched for.

`python -m app.benchmarks import NAME FILE...`, `list` or `forget NAME`.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from app.services import benchmarks
from app.services.benchmarks import Imported
from db.session import migrate
from prolora.errors import StudioError


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    os.umask(0o077)
    migrate()
    try:
        for line in chosen.run(chosen):
            print(line)
    except StudioError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.benchmarks", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    take = commands.add_parser("import", help="read a benchmark's own files; only hashes of their words are kept")
    take.add_argument("name", help="what to call it")
    take.add_argument("paths", nargs="+", type=Path, metavar="FILE", help="its test items, or the folder of them")
    take.set_defaults(run=lambda chosen: [_words(benchmarks.import_benchmark(chosen.name, chosen.paths))])
    every = commands.add_parser("list", help="say which are imported")
    every.set_defaults(run=lambda _: map(_words, benchmarks.imported()))
    forget = commands.add_parser("forget", help="remove one")
    forget.add_argument("name")
    forget.set_defaults(run=lambda chosen: _forget(chosen.name))
    return parser


def _forget(name: str) -> list[str]:
    benchmarks.forget(name)
    return [f"{name} is forgotten."]


def _words(made: Imported) -> str:
    short = f", {made.short:,} of them too short to be found" if made.short else ""
    return f"{made.name} ({made.layout}): {made.items:,} test items{short}"


if __name__ == "__main__":
    sys.exit(main())
