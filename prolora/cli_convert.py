"""`prolora expand`, `merge` and `convert`: adapters as plain LoRA, as full weights, and as compact PRoLoRA."""

import argparse
import sys
from pathlib import Path

from prolora.adapter_file import AdapterError
from prolora.plan import Setting

NUMBERS = ("r", "u", "m", "n")
CONVERT = """\
Without --r and --budget the adapter must be a PRoLoRA already, written by the paper's authors' code or expanded to a
LoRA; it becomes the compact one exactly. With either, any LoRA becomes the nearest PRoLoRA, and the error is said."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    expand = _command(commands, "expand", "write a PRoLoRA adapter as a plain PEFT LoRA, exactly")
    expand.set_defaults(run=_expand)

    merge = _command(commands, "merge", "add an adapter to the full weights of its base, as a model of its own")
    merge.add_argument("--base", type=Path, required=True, help="the base's folder, in bfloat16 or float32")
    merge.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="as the base has it by default")
    merge.set_defaults(run=_merge)

    convert = _command(commands, "convert", "write a LoRA, or what the authors' code saved, as a compact PRoLoRA")
    convert.description = CONVERT
    convert.add_argument("--to", choices=("prolora",), default="prolora")
    convert.add_argument("--budget", help="parameters (5M; 4,997,120) or the LoRA rank to match (rank 8)")
    for number in NUMBERS:
        convert.add_argument(f"--{number}", type=int)
    convert.set_defaults(run=_convert)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, does: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=does)
    command.add_argument("source", type=Path, help="the adapter's folder")
    command.add_argument("target", type=Path, help="the folder to write, which must not exist yet")
    return command


def _say(progress: str) -> None:
    print(progress, file=sys.stderr)


def _expand(chosen: argparse.Namespace) -> int:
    from prolora.export import to_lora  # here, since it loads torch

    print(f"Written to {to_lora(chosen.source, chosen.target)}.")
    return 0


def _merge(chosen: argparse.Namespace) -> int:
    from prolora.merge import merge

    print(f"Written to {merge(chosen.source, chosen.target, chosen.base, chosen.dtype, _say)}.")
    return 0


def _convert(chosen: argparse.Namespace) -> int:
    given = [number for number in NUMBERS if getattr(chosen, number) is not None]
    if chosen.budget is not None and given:
        raise AdapterError(f"Give --budget or --{given[0]}, not both: a budget finds r, u, m and n itself.")
    if chosen.budget is not None:
        return _nearly(chosen, chosen.budget)
    if chosen.r is None:
        return _exactly(chosen)
    if len(given) < len(NUMBERS):
        raise AdapterError("Give --r, --u, --m and --n together, or a --budget.")
    return _nearly(chosen, Setting(chosen.r, chosen.u, chosen.m, chosen.n))


def _exactly(chosen: argparse.Namespace) -> int:
    from prolora.authors import to_compact
    from prolora.expansion import Sought

    done = to_compact(chosen.source, chosen.target, Sought(chosen.u, chosen.m, chosen.n))
    print(f"Found {done.setting} on {done.modules} layers, in the order of {done.convention}.")
    print(f"{done.after:,} parameters in place of {done.before:,}, the same update.")
    print(f"Written to {chosen.target}.")
    return 0


def _nearly(chosen: argparse.Namespace, wanted: Setting | str) -> int:
    from prolora.shrink import to_nearest

    done = to_nearest(chosen.source, chosen.target, wanted, _say)
    worst = max(done.modules, key=lambda each: each.error)
    print(f"{done.setting}: {done.after:,} parameters in place of {done.before:,}.")
    print(f"The update is {done.error:.2%} away in all, {worst.error:.2%} at most, in {worst.module}.")
    print(f"Written to {chosen.target}.")
    return 0
