"""Fresh processes, measured: seconds, peak memory, and how much others used the machine meanwhile.

Standard library only, because the process of another environment imports it as well.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoprune.memory import peak_rss_mb

ROOT = Path(__file__).parent.parent
OUT = ROOT / "benchmarks" / "out"


def report(**figures: Any) -> None:
    """Hand a process's figures to its parent: the last line of its output."""
    print(json.dumps({**figures, "peak_mb": peak_rss_mb()}), flush=True)


def run_fresh(module: str, *arguments: str, python: str = sys.executable) -> dict[str, Any]:
    """Run ``python -m module`` and return the figures it reported.

    Added are ``process_s``, the wall clock of the process, and ``others``, the share of the
    machine that other processes used meanwhile: above a tenth, timings are disturbed.
    """
    before, own, start = _busy(), _children(), time.perf_counter()
    done = subprocess.run(
        [python, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{module} failed:\n{done.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    cpu = _children() - own
    others = max(0.0, (_busy() - before) - cpu) / (wall * (os.cpu_count() or 1))
    return {**figures, "process_s": wall, "cpu_s": cpu, "others": others}


def best_of(runs: Sequence[dict[str, Any]], key: str) -> dict[str, Any]:
    """The run with the smallest figure: the one least disturbed."""
    return min(runs, key=lambda run: float(run[key]))


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _busy() -> float:
    """Processor seconds that the machine has spent on anything since it started."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    ticks = [int(value) for value in stat.read_text().split("\n", 1)[0].split()[1:]]
    idle = ticks[3] + ticks[4]
    return (sum(ticks[:8]) - idle) / os.sysconf("SC_CLK_TCK")
