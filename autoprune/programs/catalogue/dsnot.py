"""DSnoT (arXiv 2310.08915): swaps pruned for kept weights until a row's expected error vanishes."""

import torch
from toolbox import not_worse, topk

PARAMS = {"cycles": 50, "tolerance": 5e-5}


def prune_layer(W, stats, budget, params):
    """Starts from Wanda's mask; the weights stay as they were."""
    wanda, effect = W.abs() * stats["x_norm"], W * stats["x_mean"]
    gain = effect / stats["x_var"].clamp_min(1.1754944e-38)
    keep, rows = topk(wanda, budget), torch.arange(len(W))
    for _ in range(int(params["cycles"])):
        error = (effect[rows] * ~keep[rows]).sum(dim=1)
        rows = rows[error.abs() > params["tolerance"]]
        if len(rows) == 0:
            break
        kept, own = keep[rows], effect[rows]
        error = (own * ~kept).sum(dim=1, keepdim=True)
        value = (gain[rows] * error.sign()).masked_fill(kept, -torch.inf)
        back = value.argmax(dim=1, keepdim=True)
        after = error - own.gather(1, back)
        helps = kept & (own.sign() == -after.sign())
        if budget["group"] == "n:m":
            helps &= torch.arange(W.shape[1]) // budget["m"] == back // budget["m"]
        gone = wanda[rows].masked_fill(~helps, torch.inf).argmin(dim=1, keepdim=True)
        final = after + own.gather(1, gone)
        good = helps.gather(1, gone) & ~kept.gather(1, back) & (final.abs() < error.abs())
        good = good.squeeze(1)
        rows = rows[good]
        keep[rows, back[good].squeeze(1)] = True
        keep[rows, gone[good].squeeze(1)] = False
    return not_worse(W, W * keep, W * topk(wanda, budget), stats["gram"])
