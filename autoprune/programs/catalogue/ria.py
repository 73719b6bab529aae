"""RIA (arXiv 2402.16902): a weight's share of its row and of its column, times its input's norm."""

from toolbox import topk

PARAMS = {"exponent": 0.5}


def prune_layer(W, stats, budget, params):
    """Zeroes the lowest scores and moves nothing."""
    size = W.abs()
    shares = size / size.sum(1, keepdim=True).clamp(min=1e-12)
    shares = shares + size / size.sum(0, keepdim=True).clamp(min=1e-12)
    return W * topk(shares * stats["x_norm"] ** params["exponent"], budget)
