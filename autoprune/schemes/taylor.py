"""First-order importance of weights inside blocks: how the loss would change without them."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.models.structure import find_blocks
from autoprune.progress import Progress, Report, silent


def taylor_products(
    model: PreTrainedModel, windows: Tensor, *, report: Report = silent
) -> dict[str, Tensor]:
    """``|w * dL/dw|`` with signed gradients summed over the windows, as in arXiv 2402.02834.

    Args:
        model: In eval mode; weights, gradients and ``requires_grad`` are left as they were.
        windows: Token ids, int64 [n, s].
        report: Callback, called after each window.

    Returns:
        By name, for every parameter of every block, in its shape.
    """
    wanted = {id(p) for block in find_blocks(model) for p in block.parameters()}
    state = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    try:
        for parameter, _, _ in state:
            parameter.requires_grad_(id(parameter) in wanted)
            parameter.grad = None
        for number, window in enumerate(windows, 1):
            with torch.enable_grad():
                ids = window[None].to(model.device)
                logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
                loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
                torch.autograd.backward(loss)
            report(Progress("gradients", number, len(windows)))
        return {
            name: torch.zeros_like(p) if p.grad is None else (p.detach() * p.grad).abs()
            for name, p in model.named_parameters()
            if id(p) in wanted
        }
    finally:
        for parameter, flag, gradient in state:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
