"""EBFT (arXiv 2402.12419): Wanda's masks, then the kept weights of the whole block tuned."""

from toolbox import descend_block, topk

PARAMS = {"epochs": 4, "rate": 0.01}


def prune_block(block, inputs, targets, budget, params):
    """Adam brings what the block gives back to what it should give."""
    masks = {
        name: topk(W.abs() * block.stats[name]["x_norm"], budget[name])
        for name, W in block.weights.items()
    }
    how = params["epochs"], params["rate"]
    return descend_block(block, block.weights, masks, inputs, targets, *how)
