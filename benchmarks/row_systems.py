"""MRP's row systems of one real block: our batched panels against LAPACK's batched Cholesky."""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from autoprune.masking import keep_rows
from autoprune.models.capture import BlockStream
from autoprune.models.loading import load_model
from autoprune.models.reference import DEMO_MODEL
from autoprune.models.structure import prunable_linears
from autoprune.repair.layer import damped
from autoprune.repair.subsets import solve_subsets
from autoprune.statistics.recorder import BlockRecorder
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from benchmarks.table import Goal, publish

BATCH_FLOATS = 1 << 18
CHECKED_ROWS = 8


def main() -> None:
    """Both ways on the same systems in one run, and their distance to float64."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--block", type=int, default=4)
    parser.add_argument("--sparsity", type=float, default=0.6)
    args = parser.parse_args()
    loaded = load_model(DEMO_MODEL)
    text = split(load_corpus("wikipedia-sample")).calibration
    windows = token_windows(text, loaded.tokenizer, 8, 512)
    members = [x for x in prunable_linears(loaded.model) if x.block == args.block]
    with torch.no_grad():
        stream = BlockStream(loaded.model, windows, batch=4)
        for _ in range(args.block):
            stream.advance()
        with BlockRecorder(stream.blocks[args.block], members, {"x_norm", "gram"}) as recorder:
            stream.run()
    statistics = recorder.results()
    rows: list[dict[str, Any]] = []
    for layer in members:
        weight, stats = layer.read(), statistics[layer.name]
        scores = weight.abs() * stats["x_norm"]
        keep = keep_rows(scores, round(args.sparsity * weight.numel()))
        matrix = damped(stats["gram"], 0.01)
        goal = weight @ matrix
        part = slice(0, CHECKED_ROWS)
        exact = by_lapack(goal[part].double(), keep[part], matrix.double())
        row: dict[str, Any] = {"layer": layer.projection, "systems": len(weight)}
        ways: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
            "LAPACK": by_lapack,
            "panels": solve_subsets,
        }
        for name, way in ways.items():
            start = time.perf_counter()
            found = way(goal, keep, matrix)
            row[f"{name}, s"] = time.perf_counter() - start
            distance = (found[part].double() - exact).norm() / exact.norm()
            row[f"{name}, error"] = f"{float(distance):.1e}"
        rows.append(row)
        print(row, flush=True)
    old, new = (sum(row[f"{name}, s"] for row in rows) for name in ("LAPACK", "panels"))
    title = (
        f"SmolLM2-135M, block {args.block}, Wanda at {args.sparsity:.0%}: all row systems of MRP, "
        f"{torch.get_num_threads()} threads; error against float64"
    )
    publish("row_systems", title, rows, [Goal("panels / LAPACK, seconds", new / old, 0.5)])


def by_lapack(rhs: Tensor, members: Tensor, matrix: Tensor) -> Tensor:
    """What :func:`solve_subsets` did before: one batched Cholesky per megabyte of systems."""
    counts, result = members.sum(dim=1), torch.zeros_like(rhs)
    order, start = counts.argsort(stable=True), 0
    while start < len(order):
        largest = max(int(counts[order[-1]]), 1)
        rows = order[start : start + max(1, BATCH_FLOATS // largest**2)]
        start += len(rows)
        size = int(counts[rows[-1]])
        index = members[rows].to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :size]
        valid = torch.arange(size) < counts[rows].unsqueeze(1)
        system = torch.stack([matrix.index_select(0, s).index_select(1, s) for s in index])
        system *= valid.unsqueeze(2) & valid.unsqueeze(1)
        system.diagonal(dim1=1, dim2=2).masked_fill_(~valid, 1.0)
        factor = torch.linalg.cholesky_ex(system).L
        right = (rhs[rows].gather(1, index) * valid).unsqueeze(2)
        solution = torch.cholesky_solve(right, factor).squeeze(2) * valid
        result[rows] = result[rows].scatter_add(1, index, solution)
    return result
