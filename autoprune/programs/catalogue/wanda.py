"""Wanda (arXiv 2306.11695): weight magnitude times the norm of its input."""

from toolbox import topk


def prune_layer(W, stats, budget, params):
    """Zeroes the lowest scores and moves nothing."""
    return W * topk(W.abs() * stats["x_norm"], budget)
