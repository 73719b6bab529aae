"""A new metric on stored statistics: scores and masks for every weight, no forward pass."""

import argparse
import time
from statistics import median
from typing import Any

import torch

from autoprune.allocation import ModelContext
from autoprune.metrics import build_metric
from autoprune.models.loading import load_model
from autoprune.models.structure import prunable_linears
from autoprune.pruning import MetricScore, PruningPlan, layer_budgets, masks_from_scores
from autoprune.statistics.statistics import BASIC, collect_statistics
from benchmarks.subject import prepare
from benchmarks.table import Goal, publish

METRICS = {
    "wanda": "wanda",
    "a formula": "expr:abs(W) * sqrt(x_norm)",
    "magnitude": "magnitude",
    "ria": "ria",
}
LIMIT = 2.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="runs of each, the median counts")
    args = parser.parse_args()
    folder, _ = prepare()
    model = load_model(str(folder)).model
    layers = prunable_linears(model)
    # Any tokens will do: their number changes nothing about the work that is timed.
    tokens = torch.arange(256).reshape(1, -1)
    statistics = collect_statistics(model, tokens, needs=BASIC)
    rows: list[dict[str, Any]] = []
    for title, text in METRICS.items():
        metric = build_metric(text)
        plan = PruningPlan.build(0.6, group=metric.group)
        seconds, used = [], []
        for _ in range(args.repeat):
            start, cpu = time.perf_counter(), time.process_time()
            quotas = layer_budgets(plan, ModelContext(layers, statistics))
            masks = masks_from_scores(MetricScore(metric, statistics), layers, quotas, plan)
            seconds.append(time.perf_counter() - start)
            used.append(time.process_time() - cpu)
        zeros = sum(int((~mask).sum()) for mask in masks.values())
        weights = sum(mask.numel() for mask in masks.values())
        rows.append(
            {
                "metric": title,
                "group": metric.group,
                "seconds": median(seconds),
                "CPU s": median(used),
                "M weights/s": weights / median(seconds) / 1e6,
                "zeros %": 100 * zeros / weights,
            }
        )
    goals = [Goal(f"seconds for {row['metric']}", row["seconds"], LIMIT) for row in rows]
    publish("masking", f"Scoring and masking {weights / 1e6:.0f} million weights", rows, goals)
