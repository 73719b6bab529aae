"""Freed blocks stay in the process."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from autoprune.allocator import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit(3)
for _ in range(2):
    torch.ones(30_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(30_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_blocks_asked_for_again_are_not_mapped_again() -> None:
    def run(how: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", FAULTS, how]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    kept = run("kept")
    if kept.returncode == 3:
        pytest.skip("this C library has no mallopt")
    assert kept.returncode == 0, kept.stderr
    assert int(kept.stdout) < 0.1 * int(run("plain").stdout)
