"""What there is to compute on, asked without loading torch."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ASKED = "index,uuid,memory.total,name"
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # a container's share of the machine
PATIENCE = 20.0  # seconds; a driver that sleeps takes a few to wake


@dataclass(frozen=True)
class Device:
    id: str  # as CUDA_VISIBLE_DEVICES names it; empty for the processor
    name: str
    memory_bytes: int


def devices() -> tuple[Device, ...]:
    """The cards that this process may use, in their order, or else the processor."""
    return cards() or (Device("", "cpu", _memory()),)


@cache
def cards() -> tuple[Device, ...]:
    """The NVIDIA cards that CUDA_VISIBLE_DEVICES leaves."""
    return seen(_listing(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def named(ids: str) -> tuple[Device, ...]:
    """The cards of these numbers or ids, whatever this process may use itself."""
    return seen(_listing(), ids)


def seen(listing: str, named: str | None) -> tuple[Device, ...]:
    """Of the cards in nvidia-smi's list those that are named, by number or id; as in CUDA a wrong one ends the list."""
    found = {}
    for line in listing.splitlines():
        index, uuid, mebibytes, name = (part.strip() for part in line.split(",", 3))
        size = int(mebibytes) * 2**20 if mebibytes.isdigit() else _memory()  # a chip that shares the machine's own
        found[index] = Device(uuid, name, size)
    if named is None:
        return tuple(found.values())
    wanted: list[Device] = []
    for name in named.split(","):
        card = found.get(name.strip()) or _by_id(found.values(), name.strip())
        if card is None:
            break
        wanted.append(card)
    return tuple(wanted)


def _by_id(found: Iterable[Device], start: str) -> Device | None:
    return next((card for card in found if start and card.id.startswith(start)), None)


def _listing() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, f"--query-gpu={ASKED}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""  # a driver without a card


def _memory() -> int:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(whole, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # none, or "max"
        return whole
