"""Against llm-compressor 0.14: the same model, tokens and sparsity, every run in a fresh process.

llm-compressor lives in an environment of its own, made here with pip when it is missing. Times are
from loaded model to pruned model; the streamed run also reads and writes the checkpoint. Runs
alternate and the best of ``--repeat`` counts, because other work on the machine only ever slows.
"""

import argparse
import subprocess
import sys
from typing import Any

from benchmarks.measured import ROOT, best_of, run_fresh
from benchmarks.subject import prepare
from benchmarks.table import Goal, publish

ENVIRONMENT = ROOT / "benchmarks" / ".env-llmcompressor"
PACKAGE = "llmcompressor==0.14.*"
SHARE = "0.6"
THEIRS = ("wanda", "sparsegpt")
OURS = ("wanda", "wanda-streamed", "one-shot", "sparsegpt", "sparsegpt-streamed")


def main() -> None:
    """Measure all, print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=1, help="runs of each, the best counts")
    parser.add_argument("--only", choices=THEIRS, help="one method instead of both")
    args = parser.parse_args()
    model, tokens = prepare()
    python = peer_python()
    methods = [args.only] if args.only else list(THEIRS)
    theirs: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    ours: dict[str, list[dict[str, Any]]] = {name: [] for name in OURS if _peer_of(name) in theirs}
    for _ in range(args.repeat):
        for name in methods:
            arguments = (name, str(model), str(tokens), SHARE)
            theirs[name].append(
                run_fresh("benchmarks.peer_llmcompressor", *arguments, python=python)
            )
            for own in (own for own in ours if _peer_of(own) == name):
                arguments = (own, str(model), str(tokens), SHARE)
                ours[own].append(run_fresh("benchmarks.peer_autoprune", *arguments))
    best_theirs = {name: best_of(runs, "prune_s") for name, runs in theirs.items()}
    best_ours = {name: best_of(runs, "prune_s") for name, runs in ours.items()}
    _publish(best_theirs, best_ours, {"theirs": theirs, "ours": ours})


def _publish(
    theirs: dict[str, dict[str, Any]], ours: dict[str, dict[str, Any]], runs: dict[str, Any]
) -> None:
    rows = [_row(f"llm-compressor {name}", run, run) for name, run in theirs.items()]
    rows += [_row(f"autoprune {name}", run, theirs[_peer_of(name)]) for name, run in ours.items()]
    ratios = {row["run"]: row for row in rows}

    def ratio(name: str, column: str) -> float:
        return float(ratios[f"autoprune {name}"][column])

    goals = []
    if "wanda" in theirs:
        leanest = min(ratio("wanda", "x memory"), ratio("wanda-streamed", "x memory"))
        goals += [
            Goal("sequential Wanda, time", ratio("wanda", "x time"), 0.8),
            Goal("sequential Wanda, memory (streamed or not)", leanest, 0.7),
            Goal("one-shot statistics and masks, time", ratio("one-shot", "x time"), 0.45),
        ]
    if "sparsegpt" in theirs:
        goals.append(Goal("SparseGPT, time", ratio("sparsegpt", "x time"), 0.6))
    title = "Pruning SmolLM2-135M to 60 %, 16 x 512 calibration tokens, float32"
    publish("peer", title, rows, goals, runs=runs)


def _peer_of(name: str) -> str:
    return "sparsegpt" if name.startswith("sparsegpt") else "wanda"


def _row(name: str, run: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": name,
        "seconds": run["prune_s"],
        "peak MB": run["peak_mb"],
        "zeros %": 100 * run["sparsity"],
        "x time": run["prune_s"] / peer["prune_s"],
        "x memory": run["peak_mb"] / peer["peak_mb"],
        "CPU s": run["cpu_s"],
        "others": f"{run['others']:.0%}",
    }


def peer_python() -> str:
    """The interpreter of llm-compressor's environment."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PACKAGE], check=True)
    return str(python)
