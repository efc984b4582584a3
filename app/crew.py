"""The workers of one machine: how many, and which cards each of them has."""

import re
from dataclasses import dataclass

from prolora.devices import cards, named
from prolora.errors import StudioError

CARDS = re.compile(r"(\d+|(GPU|MIG)-[\w/-]+)(,(\d+|(GPU|MIG)-[\w/-]+))*")
PROCESSORS = re.compile(r"cpu(,cpu)*")


class CrewError(StudioError):
    """STUDIO_WORKERS names something that is not there."""


@dataclass(frozen=True)
class Post:
    """One worker: its name, and the environment that shows it its cards and no others."""

    name: str
    env: dict[str, str]


def posts(wanted: str) -> list[Post]:
    """As STUDIO_WORKERS says, a word for each worker; without a word one for each card, or else one."""
    groups = wanted.split() or [card.id for card in cards()]
    if not groups:
        return [Post("worker", {})]
    names = ["worker"] if len(groups) == 1 else [f"worker-{number}" for number in range(1, len(groups) + 1)]
    return [Post(name, _pinned(group)) for name, group in zip(names, groups, strict=True)]


def _pinned(group: str) -> dict[str, str]:
    devices = group.split(",")
    if PROCESSORS.fullmatch(group):
        return {"CUDA_VISIBLE_DEVICES": "", "STUDIO_GPUS": str(len(devices))}
    if not CARDS.fullmatch(group):
        raise CrewError(
            f"STUDIO_WORKERS names {group!r}. Give a word for each worker: the cards that it has, as 0 or 2,3, or cpu."
        )
    # A worker without its card would train on the processor; of parts of cards nvidia-smi's list does not tell.
    if "MIG-" not in group and len(named(group)) < len(devices):
        raise CrewError(f"STUDIO_WORKERS names the cards {group}, but nvidia-smi does not list all of them here.")
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": group, "STUDIO_GPUS": str(len(devices))}
