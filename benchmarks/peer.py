"""Against llm-compressor 0.14: the same model, tokens and sparsity, every run in a fresh process.

llm-compressor lives in an environment of its own, made here with pip when it is missing. Times are
from loaded model to pruned model; the streamed runs also read and write the checkpoint. Within a
round every run of ours follows the peer's at once; ratios are taken within a round, and the median
over ``--rounds`` counts. On a machine that others use, compare processor seconds with ``--threads
1``: threads that wait for each other spin, and that counts.
"""

import argparse
import os
import subprocess
import sys
from typing import Any

from benchmarks.measured import ROOT, Rounds
from benchmarks.subject import SAMPLES, SEQLEN, prepare
from benchmarks.table import Goal, publish

ENVIRONMENT = ROOT / "benchmarks" / ".env-llmcompressor"
PACKAGE = "llmcompressor==0.14.*"
SHARE = "0.6"
OURS = {
    "wanda": ("wanda", "wanda-streamed", "one-shot"),
    "sparsegpt": ("sparsegpt", "sparsegpt-streamed"),
}


def main() -> None:
    """Measure all, print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each, the median counts")
    parser.add_argument("--only", choices=sorted(OURS), help="one method instead of both")
    parser.add_argument("--calibration-windows", type=int, default=SAMPLES, help="of 512 tokens")
    parser.add_argument("--threads", type=int, help="of every process; all cores by default")
    args = parser.parse_args()
    if args.threads:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)
    model, tokens = prepare()
    python = peer_python()
    methods = [args.only] if args.only else list(OURS)
    rounds = Rounds()
    arguments = (str(model), str(tokens), SHARE, str(args.calibration_windows))
    for _ in range(args.rounds):
        for method in methods:
            peer = ("benchmarks.peer_llmcompressor", method, *arguments)
            rounds.run(_theirs(method), *peer, python=python)
            for own in OURS[method]:
                rounds.run(_ours(own), "benchmarks.peer_autoprune", own, *arguments)
    title = (
        f"Pruning SmolLM2-135M to 60 %, {args.calibration_windows} x {SEQLEN} calibration tokens, "
        f"float32; median of {args.rounds} interleaved rounds"
    )
    _publish(rounds, methods, title)


def _publish(rounds: Rounds, methods: list[str], title: str) -> None:
    rows: list[dict[str, Any]] = []
    for method in methods:
        subjects = (_theirs(method), *map(_ours, OURS[method]))
        rows += [_row(rounds, subject, _theirs(method)) for subject in subjects]
    by_run = {row["run"]: row for row in rows}

    def ratio(name: str, column: str) -> float:
        return float(by_run[_ours(name)][column])

    goals = []
    if "wanda" in methods:
        goals += [
            Goal("sequential Wanda, time", ratio("wanda", "x time"), 0.5),
            Goal("sequential Wanda, memory", ratio("wanda", "x memory"), 0.8),
            Goal("sequential Wanda streamed, time", ratio("wanda-streamed", "x time"), 0.8),
            Goal("sequential Wanda streamed, memory", ratio("wanda-streamed", "x memory"), 0.7),
            Goal("one-shot statistics and masks, time", ratio("one-shot", "x time"), 0.45),
        ]
    if "sparsegpt" in methods:
        goals += [
            Goal("SparseGPT, time", ratio("sparsegpt", "x time"), 0.4),
            Goal("SparseGPT, memory", ratio("sparsegpt", "x memory"), 0.8),
        ]
    versions = rounds.runs[_theirs(methods[0])][0]["versions"]
    named = {f"{package} (peer)": number for package, number in versions.items()}
    publish("peer", title, rows, goals, versions=named, runs=rounds.runs)


def _theirs(method: str) -> str:
    return f"llm-compressor {method}"


def _ours(method: str) -> str:
    return f"autoprune {method}"


def _row(rounds: Rounds, subject: str, peer: str) -> dict[str, Any]:
    return {
        "run": subject,
        "seconds": rounds.median(subject, "prune_s"),
        "CPU s": rounds.median(subject, "prune_cpu_s"),
        "peak MB": rounds.median(subject, "peak_mb"),
        "zeros %": 100 * rounds.median(subject, "sparsity"),
        "x time": rounds.ratio(subject, peer, "prune_s"),
        "x CPU": rounds.ratio(subject, peer, "prune_cpu_s"),
        "x memory": rounds.ratio(subject, peer, "peak_mb"),
        "others": f"{rounds.median(subject, 'others'):.0%}",
    }


def peer_python() -> str:
    """The interpreter of llm-compressor's environment."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-P", "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-P", "-m", "pip", "install", "--quiet", PACKAGE], check=True)
    return str(python)
