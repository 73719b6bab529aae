"""Cost against size: models of up to a billion parameters, three amounts of tokens at one model.

A method whose cost is linear has an exponent of 1 in a log-log fit. Small matrices use a processor
less well than large ones, so exponents below 1 are usual. On a machine that others use, take
``--threads 1 --clock "CPU s"``.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from autoprune.metrics import build_metric
from autoprune.models.structure import prunable_linears
from autoprune.pruning import MetricScore, PruningPlan, prune
from benchmarks.evidence.records import COUNTS
from benchmarks.evidence.writing import write_record
from benchmarks.measured import Rounds, report
from benchmarks.table import Goal, publish

# Hidden size and blocks; the feed-forward map is 2.75 times as wide.
SIZES = ((512, 8), (768, 12), (1024, 20), (2048, 20))
TOKENS = (2048, 4096, 8192)
SEQLEN = 256
WIDEST_EXPONENT = 1.05
# Bytes that Python and torch take without a model.
LIBRARIES = 5e8
CLOCKS = ("seconds", "CPU s")


def main() -> None:
    """Measure and print; with ``--one`` be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, the median counts")
    parser.add_argument("--resume", action="store_true", help="go on where a run was cut off")
    parser.add_argument("--threads", type=int, help="of every process; all cores by default")
    parser.add_argument("--clock", choices=CLOCKS, default="seconds", help="what is fitted")
    parser.add_argument("--record", type=Path, help="folder to keep the figures in, as evidence")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        report(**one(*args.one))
        return
    if args.threads:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)
    by_size = [(*size, TOKENS[0]) for size in fitting(psutil.virtual_memory().available)]
    by_tokens = [(*SIZES[0], tokens) for tokens in TOKENS]
    settings = list(dict.fromkeys([*by_size, *by_tokens]))
    rounds = Rounds("scaling", [f"threads={args.threads}"], resume=args.resume)
    for _ in range(args.rounds):
        for setting in settings:
            argument = json.dumps(setting)
            rounds.run(argument, "seconds", "benchmarks.scaling", "--one", argument)
    series = {
        "parameters": [_row(rounds, setting) for setting in by_size],
        "tokens": [_row(rounds, setting) for setting in by_tokens],
    }
    found = {
        "parameters": exponent(series["parameters"], "M weights", args.clock),
        "tokens": exponent(series["tokens"], "tokens", args.clock),
    }
    rows = [{"series": name, **row} for name, members in series.items() for row in members]
    goals = [
        Goal(f"exponent of {args.clock} over {name}", value, WIDEST_EXPONENT)
        for name, value in found.items()
    ]
    title = f"Sequential Wanda at 60 % on random llamas, median of {args.rounds} interleaved rounds"
    publish("scaling", title, rows, goals, runs=rounds.runs)
    if args.record:
        counts = {"exponents": found, "runs": rounds.runs, **series}
        command = "python -m benchmarks scaling --record evidence/scaling"
        write_record(args.record, COUNTS, command, ("counts.json", counts))


def fitting(available: int) -> list[tuple[int, int]]:
    """The sizes that a run has memory for; others are named on standard error.

    Args:
        available: Bytes.
    """
    found = []
    for hidden, blocks in SIZES:
        # Attention has four matrices of this size, the feed-forward map three, 2.75 times as wide.
        weights = round((4 + 3 * 2.75) * hidden**2 * blocks)
        # Float32, and a quarter of that for one block's work.
        if 5 * weights + LIBRARIES <= available:
            found.append((hidden, blocks))
        else:
            print(f"no memory for {weights / 1e6:,.0f} million weights; left out", file=sys.stderr)
    return found


def _row(rounds: Rounds, setting: tuple[int, int, int]) -> dict[str, Any]:
    hidden, blocks, tokens = setting
    name = json.dumps(setting)
    weights, seconds = rounds.median(name, "weights"), rounds.median(name, "seconds")
    return {
        "hidden": hidden,
        "blocks": blocks,
        "M weights": weights / 1e6,
        "tokens": tokens,
        "seconds": seconds,
        "CPU s": rounds.median(name, "used_s"),
        "ns per weight and token": seconds * 1e9 / weights / tokens,
        "peak MB": rounds.median(name, "peak_mb"),
        "others": f"{rounds.median(name, 'others'):.0%}",
    }


def one(hidden: int, blocks: int, tokens: int) -> dict[str, float]:
    """Prune one random model."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=hidden,
        intermediate_size=int(2.75 * hidden),
        num_hidden_layers=blocks,
        num_attention_heads=hidden // 64,
        max_position_embeddings=SEQLEN,
    )
    model = LlamaForCausalLM(config).eval()
    windows = torch.randint(1024, (tokens // SEQLEN, SEQLEN))
    start, used = time.perf_counter(), time.process_time()
    plan = PruningPlan.build(0.6, scoring="sequential")
    prune(model, MetricScore(build_metric("wanda")), plan, windows=windows)
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    weights = sum(x.numel for x in prunable_linears(model))
    return {"seconds": seconds, "used_s": cpu, "weights": weights}


def exponent(runs: list[dict[str, Any]], key: str, clock: str) -> float:
    """Slope of the log of a clock over the log of the key, by least squares."""
    xs = [math.log(run[key]) for run in runs]
    ys = [math.log(run[clock]) for run in runs]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread


if __name__ == "__main__":
    main()
