"""SparseGPT (arXiv 2301.00774) matrix by matrix, then EBFT (arXiv 2402.12419) on the block."""

import torch
from toolbox import descend_block, inverse_cholesky, n_m, not_worse, parts, topk

PARAMS = {"damp": 0.01, "columns": 128, "epochs": 4, "rate": 0.01}


def prune_block(block, inputs, targets, budget, params):
    """Masks and first weights by SparseGPT, which Adam goes on from."""
    stats = block.stats
    start = {n: sparsegpt(W, stats[n], budget[n], params) for n, W in block.weights.items()}
    masks = {name: W != 0 for name, W in start.items()}
    return descend_block(block, start, masks, inputs, targets, params["epochs"], params["rate"])


def sparsegpt(W, stats, budget, params):
    """Column block by column block, each chosen from weights that the blocks before have moved."""
    upper, new = inverse_cholesky(stats["gram"], params["damp"]), W.clone()
    scale, of = upper.diagonal(), budget["m"] if budget["group"] == "n:m" else 0
    size = max(int(params["columns"]) // (of or 1), 1) * (of or 1)
    starts = range(0, W.shape[1], size)
    widths = [min(size, W.shape[1] - start) for start in starts]
    for start, width, own in zip(starts, widths, parts(budget, widths)):
        stop = start + width
        keep = topk((new[:, start:stop] / scale[start:stop]).square(), own)
        errors = torch.zeros(len(W), width)
        for at in range(width):
            column = start + at
            if of and at % of == 0:
                near = slice(column, column + of)
                lost = (new[:, near] / scale[near]).square()
                keep[:, at : at + of] = n_m(lost, budget["n"], of)
            errors[:, at] = new[:, column] * ~keep[:, at] / scale[column]
            new[:, column:stop] -= errors[:, at : at + 1] * upper[column, column:stop]
        new[:, start:stop] *= keep
        new[:, stop:] -= errors @ upper[start:stop, stop:]
    plain = W * topk(W.abs() * stats["x_norm"], budget)
    return not_worse(W, new, plain, stats["gram"])
