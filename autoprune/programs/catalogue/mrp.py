"""MRP (arXiv 2410.15567): the exact least-squares fit of all weights that stay, row by row."""

from toolbox import damped, not_worse, solve_rows, topk

PARAMS = {"damp": 0.01}


def prune_layer(W, stats, budget, params):
    """On Wanda's mask; a row that plain zeroing serves better stays plain."""
    gram = stats["gram"]
    keep = topk(W.abs() * stats["x_norm"], budget)
    matrix, plain = damped(gram, params["damp"]), W * keep
    return not_worse(W, solve_rows(W @ matrix, keep, matrix) * keep, plain, gram)
