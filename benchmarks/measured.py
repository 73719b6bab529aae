"""Fresh processes, measured: seconds, peak memory, and how much others used the machine meanwhile.

Standard library only, because the process of another environment imports it as well.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from autoprune.memory import peak_rss_mb

ROOT = Path(__file__).parent.parent
OUT = ROOT / "benchmarks" / "out"
# ``python -m`` that finds our modules last of all, so that none can stand in for another package.
_RUN = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


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
        [python, "-P", "-c", _RUN, str(ROOT), module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{module} failed:\n{done.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    cpu = _children() - own
    others = max(0.0, (_busy() - before) - cpu) / (wall * (os.cpu_count() or 1))
    return {**figures, "process_s": wall, "others": others}


class Rounds:
    """Interleaved runs of several subjects, each reported when it ends."""

    def __init__(self) -> None:
        self.runs: dict[str, list[dict[str, Any]]] = {}

    def run(self, subject: str, module: str, *arguments: str, python: str = sys.executable) -> None:
        """One run of one subject; see :func:`run_fresh`."""
        figures = run_fresh(module, *arguments, python=python)
        runs = self.runs.setdefault(subject, [])
        runs.append(figures)
        print(
            f"{subject}, round {len(runs)}: {figures['prune_s']:.2f} s, "
            f"{figures['peak_mb']:.0f} MB, others used {figures['others']:.0%}",
            file=sys.stderr,
            flush=True,
        )

    def median(self, subject: str, figure: str) -> float:
        """Median of a figure over the rounds."""
        return statistics.median(float(run[figure]) for run in self.runs[subject])

    def ratio(self, subject: str, to: str, figure: str) -> float:
        """Median over rounds of the quotient within a round, which load on the machine cancels."""
        pairs = zip(self.runs[subject], self.runs[to], strict=True)
        return statistics.median(float(run[figure]) / float(other[figure]) for run, other in pairs)


def commit() -> str:
    """Short hash of the checkout, with a plus where tracked files differ from it."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


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
