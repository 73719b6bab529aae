"""One run of AutoPrune in a fresh process; see :mod:`benchmarks.peer`."""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.metrics import build_metric
from autoprune.models.loading import load_model
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.statistics.statistics import BASIC, collect_statistics
from autoprune.streaming import StreamJob, prune_streamed
from benchmarks.measured import report

SPARSEGPT = "sparsegpt:select=own"


def main() -> None:
    """Prune and report."""
    method, folder, tokens_file, share, samples = sys.argv[1:]
    tokens = torch.from_numpy(np.load(tokens_file)[: int(samples)])
    if method.endswith("-streamed"):
        report(**streamed(method.removesuffix("-streamed"), Path(folder), tokens, float(share)))
    else:
        report(**in_memory(method, folder, tokens, float(share)))


def plan_of(method: str, share: float) -> tuple[Any, PruningPlan]:
    """Metric and plan; SparseGPT chooses its mask inside the sweep, as the peer does."""
    if method == "sparsegpt":
        return build_metric("magnitude"), PruningPlan.build(share, group="matrix", repair=SPARSEGPT)
    return build_metric("wanda"), PruningPlan.build(share)


def in_memory(method: str, folder: str, tokens: Tensor, share: float) -> dict[str, float]:
    """One-shot or block-sequential on the loaded model."""
    start = time.perf_counter()
    model = load_model(folder).model
    loaded, used = time.perf_counter(), time.process_time()
    metric, plan = plan_of(method, share)
    if method == "one-shot":
        statistics = collect_statistics(model, tokens, needs=BASIC)
        outcome = prune(model, MetricScore(metric), plan, statistics=statistics)
    else:
        plan = replace(plan, scoring="sequential")
        outcome = prune(model, MetricScore(metric), plan, windows=tokens)
    pruned, cpu = time.perf_counter(), time.process_time() - used
    return {
        "load_s": loaded - start,
        "prune_s": pruned - loaded,
        "prune_cpu_s": cpu,
        "sparsity": outcome.sparsity,
    }


def streamed(method: str, folder: Path, tokens: Tensor, share: float) -> dict[str, float]:
    """From folder to folder; reading and writing are part of it."""
    metric, plan = plan_of(method, share)
    with tempfile.TemporaryDirectory() as scratch:
        start, used = time.perf_counter(), time.process_time()
        made = prune_streamed(StreamJob(folder, tokens, metric, plan), Path(scratch) / "pruned")
        seconds, cpu = time.perf_counter() - start, time.process_time() - used
    return {
        "load_s": 0.0,
        "prune_s": seconds,
        "prune_cpu_s": cpu,
        "sparsity": made.saved.zeros.sparsity,
    }


if __name__ == "__main__":
    main()
