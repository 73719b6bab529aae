"""Fresh processes, measured: seconds, peak memory, and how much others used the machine meanwhile.

Standard library only, because the process of another environment imports it as well.
"""

import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
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
    return {**figures, "process_s": wall, "cpu_s": cpu, "others": others}


class Rounds:
    """Interleaved runs of several subjects, each reported when it ends and kept in a file.

    A benchmark that was cut off goes on with ``resume``: rounds of the same options, and where our
    code was the same to the letter, are read from the file instead of measured again.

    Args:
        name: Of the benchmark; the file is ``benchmarks/out/NAME.runs.jsonl``.
        options: What else a run depends on.
        resume: Whether to use runs that are already in the file.
    """

    def __init__(self, name: str, options: Sequence[str] = (), *, resume: bool = False) -> None:
        self._path = OUT / f"{name}.runs.jsonl"
        self._options = list(options)
        self._commit = code_digest()
        self.runs: dict[str, list[dict[str, Any]]] = {}
        self._known: dict[str, list[dict[str, Any]]] = {}
        OUT.mkdir(parents=True, exist_ok=True)
        if not resume:
            self._path.unlink(missing_ok=True)
        else:
            for entry in read_lines(self._path):
                own = entry["commit"] in ("", self._commit)
                if own and entry["options"] == self._options:
                    self._known.setdefault(entry["subject"], []).append(entry["figures"])

    def run(
        self,
        subject: str,
        seconds: str,
        module: str,
        *arguments: str,
        python: str = sys.executable,
        foreign: bool = False,
    ) -> None:
        """One run of one subject; its round is the number of its runs so far.

        Args:
            subject: Its name.
            seconds: The figure to tell a waiting person.
            module: See :func:`run_fresh`, also for the arguments and ``python``.
            foreign: Whether what is measured does not depend on our commit.
        """
        runs = self.runs.setdefault(subject, [])
        known = self._known.get(subject, [])
        if len(runs) < len(known):
            figures = known[len(runs)]
        else:
            figures = run_fresh(module, *arguments, python=python)
            entry = {
                "commit": "" if foreign else self._commit,
                "options": self._options,
                "subject": subject,
                "figures": figures,
            }
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        runs.append(figures)
        print(
            f"{subject}, round {len(runs)}: {figures[seconds]:.2f} s, {figures['peak_mb']:.0f} MB, "
            f"others used {figures['others']:.0%}",
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


def read_lines(path: Path) -> list[Any]:
    """JSON lines of a file that is appended to; what a kill left of a last line is taken off."""
    whole, _, cut = (path.read_text(encoding="utf-8") if path.exists() else "").rpartition("\n")
    if cut:
        path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def commit(written: Path | None = None) -> str:
    """Short hash of the checkout, with a plus where tracked files differ from it.

    Args:
        written: Folder whose files do not count: what is being written changes no result.
    """
    others = ["."]
    if written is not None and written.resolve().is_relative_to(ROOT.resolve()):
        others.append(f":!{written.resolve().relative_to(ROOT.resolve())}")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *others)
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def code_digest() -> str:
    """The commit, and where tracked files differ from it a digest of how."""
    difference = _git("diff", "HEAD")
    if not difference:
        return commit()
    return f"{commit()}{hashlib.sha256(difference.encode()).hexdigest()[:12]}"


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
