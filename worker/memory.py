"""How much memory a training takes: of the card, or of this process where there is none."""

import sys
from pathlib import Path

import psutil
import torch

KIB = 1024


class Memory:
    """Counts from where it is made; on a CPU that is what the process had by then for its libraries."""

    def __init__(self) -> None:
        self.before = 0 if torch.cuda.is_available() else psutil.Process().memory_info().rss
        self.highest = 0

    def now(self) -> int:
        """Bytes: the most of the card since the last time it was asked, or what the process has now."""
        if torch.cuda.is_available():
            taken = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        else:
            taken = psutil.Process().memory_info().rss - self.before
        self.highest = max(self.highest, taken)
        return max(taken, 0)

    def peak(self) -> int:
        """Most bytes at any time so far."""
        self.now()
        if not torch.cuda.is_available():
            self.highest = max(self.highest, process_peak() - self.before)
        return self.highest


def process_peak() -> int:
    """By Linux's own count; elsewhere what has been seen."""
    if sys.platform != "linux":
        return 0
    status = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * KIB for line in status if line.startswith("VmHWM")), 0)
