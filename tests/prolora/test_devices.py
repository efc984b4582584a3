import subprocess
import sys
from pathlib import Path

import pytest

from prolora.devices import Device, devices, seen

LISTING = """0, GPU-aaaa-1, 81559, NVIDIA H100 80GB HBM3
1, GPU-bbbb-2, 24564, NVIDIA GeForce RTX 4090
"""
FIRST = Device("GPU-aaaa-1", "NVIDIA H100 80GB HBM3", 81559 * 2**20)
SECOND = Device("GPU-bbbb-2", "NVIDIA GeForce RTX 4090", 24564 * 2**20)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (None, (FIRST, SECOND)),
        ("1", (SECOND,)),
        ("1,0", (SECOND, FIRST)),
        ("GPU-bbbb", (SECOND,)),
        ("0,7,1", (FIRST,)),
        ("", ()),
        ("-1", ()),
    ],
)
def test_what_is_seen_is_what_cuda_would_see(named: str | None, expected: tuple[Device, ...]) -> None:
    assert seen(LISTING, named) == expected


def test_a_card_that_shares_the_machines_memory_has_all_of_it() -> None:
    assert seen("0, GPU-c, [N/A], NVIDIA GB10", None)[0].memory_bytes == devices()[-1].memory_bytes


def test_a_driver_that_answers_is_asked_and_one_that_does_not_leaves_the_processor(tmp_path: Path) -> None:
    program = "from prolora.devices import devices; print([d.name for d in devices()])"
    for script, names in (
        (f"printf '{LISTING}'", "['NVIDIA H100 80GB HBM3', 'NVIDIA GeForce RTX 4090']"),
        ("false", "['cpu']"),
    ):
        fake = tmp_path / "nvidia-smi"
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        said = subprocess.run(
            [sys.executable, "-c", program], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True
        )
        assert said.stdout.strip() == names, said.stderr
