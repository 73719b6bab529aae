"""Every repair after one mask: perplexity, seconds, and each layer's error against zeroing."""

import argparse
import time
from typing import Any

import torch

from autoprune.allocation import ModelContext
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.metrics import build_metric
from autoprune.models.loading import load_model
from autoprune.models.reference import DEMO_MODEL
from autoprune.models.structure import prunable_linears
from autoprune.pruning import (
    DenseWeights,
    MetricScore,
    PruningPlan,
    layer_budgets,
    masks_from_scores,
)
from autoprune.repair import Repair, output_errors
from autoprune.statistics.statistics import BASIC, collect_statistics
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from benchmarks.table import Goal, publish

REPAIRS = (
    "none",
    "dsnot",
    "sparseswaps",
    "sparsegpt",
    "sparsegpt:select=own",
    "mrp",
    "mrp:select=own",
    "sparseswaps+mrp",
    "alps:iterations=60",
)


def main() -> None:
    """Repair every layer from dense statistics, measure, restore; one calibration draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repairs", nargs="+", default=list(REPAIRS))
    parser.add_argument("--metric", default="wanda")
    parser.add_argument("--sparsity", type=float, default=0.6)
    parser.add_argument("--calibration-windows", type=int, default=8, help="of 512 tokens")
    parser.add_argument("--measured-windows", type=int, default=10, help="of 512 tokens")
    args = parser.parse_args()
    loaded = load_model(DEMO_MODEL)
    parts = split(load_corpus("wikipedia-sample"))
    seen = token_windows(parts.calibration, loaded.tokenizer, args.calibration_windows, 512)
    unseen = token_windows(parts.selection, loaded.tokenizer, args.measured_windows, 512)
    layers = prunable_linears(loaded.model)
    statistics = collect_statistics(loaded.model, seen, needs=BASIC | {"gram"})
    metric = build_metric(args.metric)
    plan = PruningPlan(args.sparsity, metric.group)
    quotas = layer_budgets(plan, ModelContext(layers, statistics))
    masks = masks_from_scores(MetricScore(metric, statistics), layers, quotas, plan)
    dense = DenseWeights(layers)
    rows: list[dict[str, Any]] = []
    worst: list[Goal] = []
    for text in args.repairs:
        repair, seconds, notes = Repair.parse(text), 0.0, 0
        ratios: list[float] = []
        with dense:
            for layer in layers:
                weight, stats = layer.read().clone(), statistics.of(layer.name)
                keep = masks[layer.name]
                start = time.perf_counter()
                made = repair.repair(weight, keep, stats)
                seconds += time.perf_counter() - start
                notes += len(made.notes)
                after = float(output_errors(made.weight - weight, stats["gram"]).sum())
                ratios.append(after / float(output_errors(weight * ~keep, stats["gram"]).sum()))
                assert int(made.keep.sum()) == int(keep.sum())
                layer.write(made.weight)
            perplexity = evaluate_windows(loaded.model, unseen).perplexity
        rows.append(
            {
                "repair": text,
                "perplexity": perplexity,
                "layer error, mean": sum(ratios) / len(ratios),
                "layer error, worst": max(ratios),
                "seconds": seconds,
                "notes": notes,
            }
        )
        worst.append(Goal(f"{text}: worst layer's error against plain zeroing", max(ratios), 1.0))
        print(
            {k: v if isinstance(v, str) else round(v, 4) for k, v in rows[-1].items()}, flush=True
        )
    title = (
        f"SmolLM2-135M, {args.metric} at {args.sparsity:.0%}, {args.calibration_windows} x 512 "
        f"calibration tokens, {args.measured_windows} x 512 tokens of the selection split; layer "
        f"errors as a share of plain zeroing's; {torch.get_num_threads()} threads"
    )
    publish("repairs", title, rows, worst)
