"""ALPS (arXiv 2406.07831): mask and weights together by ADMM, then an exact fit on the support."""

import torch
from toolbox import damped, not_worse, solve_rows, topk

PARAMS = {"damp": 0.01, "iterations": 300}


def prune_layer(W, stats, budget, params):
    """A row keeps Wanda's mask where that one fits better, as far as the budget lets it."""
    gram = damped(stats["gram"], params["damp"])
    scale = gram.diagonal().sqrt()
    matrix, scaled = gram / scale / scale.unsqueeze(1), W * scale
    goal, given = scaled @ matrix, topk(W.abs() * stats["x_norm"], budget)
    found = support(scaled, goal, matrix, budget, int(params["iterations"]), given)
    ours, plain = solve_rows(goal, found, matrix) * found, solve_rows(goal, given, matrix) * given
    return not_worse(scaled, ours, plain, matrix) / scale


def support(W, goal, matrix, budget, iterations, given):
    """Where ADMM leaves weights; rho grows as the support settles."""
    values, vectors = [part.float() for part in torch.linalg.eigh(matrix.double())]
    sparse, dual, rho, moved, before = W, torch.zeros_like(W), 0.1, False, given
    for step in range(1, iterations + 1):
        free = ((goal - dual + rho * sparse) @ vectors / (values + rho)) @ vectors.t()
        target = free + dual / rho
        keep = topk(target.abs(), budget)
        sparse = target * keep
        dual = dual + rho * (free - sparse)
        if step % 3 == 0:
            change, before = int((keep & ~before).sum()) / max(int(keep.sum()), 1), keep
            if step >= 30 and change < 3e-4:
                break
            moved = moved or change > 0.005
            if moved:
                rho *= 1.3 if change > 0.1 else 1.2 if change > 0.005 else 1.1
            else:
                sparse, dual, rho = W, torch.zeros_like(W), rho / 5
    return keep
