"""Cost against size: three models at equal tokens, three amounts of tokens at one model.

A method whose cost is linear has an exponent of 1 in a log-log fit. Small matrices use a processor
less well than large ones, so exponents below 1 are usual.
"""

import argparse
import json
import math
import time
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from autoprune.metrics import build_metric
from autoprune.models.structure import prunable_linears
from autoprune.pruning import PruningPlan
from autoprune.sequential import prune_sequential
from benchmarks.measured import report, run_fresh
from benchmarks.table import Goal, publish

# Hidden size and blocks; the feed-forward map is 2.75 times as wide.
SIZES = ((512, 8), (768, 12), (1024, 20))
TOKENS = (2048, 4096, 8192)
SEQLEN = 256
WIDEST_EXPONENT = 1.15


def main() -> None:
    """Measure and print; with ``--one`` be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=2, help="runs of each, the best counts")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        report(**one(*args.one))
        return
    by_size = [measure(size, TOKENS[0], args.repeat) for size in SIZES]
    by_tokens = [measure(SIZES[0], tokens, args.repeat) for tokens in TOKENS]
    rows = [{"series": "parameters", **run} for run in by_size]
    rows += [{"series": "tokens", **run} for run in by_tokens]
    goals = [
        Goal("exponent over parameters", exponent(by_size, "M weights"), WIDEST_EXPONENT),
        Goal("exponent over tokens", exponent(by_tokens, "tokens"), WIDEST_EXPONENT),
    ]
    publish("scaling", "Sequential Wanda at 60 % on random llamas", rows, goals)


def measure(size: tuple[int, int], tokens: int, repeat: int) -> dict[str, Any]:
    """The best run of one setting."""
    argument = json.dumps([*size, tokens])
    runs = [run_fresh("benchmarks.scaling", "--one", argument) for _ in range(repeat)]
    best = min(runs, key=lambda run: float(run["seconds"]))
    return {
        "hidden": size[0],
        "blocks": size[1],
        "M weights": best["weights"] / 1e6,
        "tokens": tokens,
        "seconds": best["seconds"],
        "ns per weight and token": best["seconds"] * 1e9 / best["weights"] / tokens,
        "peak MB": best["peak_mb"],
        "others": f"{best['others']:.0%}",
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
    start = time.perf_counter()
    prune_sequential(model, windows, build_metric("wanda"), PruningPlan.build(0.6))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "weights": sum(x.numel for x in prunable_linears(model))}


def exponent(runs: list[dict[str, Any]], key: str) -> float:
    """Slope of log seconds over log of the key, by least squares."""
    xs = [math.log(run[key]) for run in runs]
    ys = [math.log(run["seconds"]) for run in runs]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread


if __name__ == "__main__":
    main()
