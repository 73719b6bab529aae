"""First-order importance of weights inside blocks: how the loss would change without them."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.errors import InfiniteGradientError
from autoprune.models.structure import find_blocks
from autoprune.progress import Progress, Report, silent
from autoprune.statistics.gradients import loss_scale


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

    Raises:
        InfiniteGradientError: If a product is not finite.
    """
    wanted = {id(p) for block in find_blocks(model) for p in block.parameters()}
    state = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    scale = loss_scale(model.dtype)
    sums: dict[int, Tensor] = {}

    def add(parameter: Tensor) -> None:
        """Sum in float32 what half precision would lose: signed gradients nearly cancel."""
        if parameter.grad is not None:
            more = parameter.grad.float().div_(scale)
            if id(parameter) in sums:
                sums[id(parameter)].add_(more)
            else:
                sums[id(parameter)] = more
            parameter.grad = None

    hooks = []
    try:
        for parameter, _, _ in state:
            parameter.requires_grad_(id(parameter) in wanted)
            parameter.grad = None
            if parameter.dtype.itemsize < 4 and id(parameter) in wanted:
                hooks.append(parameter.register_post_accumulate_grad_hook(add))
        for number, window in enumerate(windows, 1):
            with torch.enable_grad():
                ids = window[None].to(model.device)
                logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
                loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
                torch.autograd.backward(loss * scale)
            report(Progress("gradients", number, len(windows)))
        found = {}
        for name, p in model.named_parameters():
            if id(p) in wanted:
                gradient = sums.pop(id(p), p.grad)
                found[name] = (
                    torch.zeros_like(p) if gradient is None else (p.detach() * gradient).abs()
                )
                if not bool(torch.isfinite(found[name]).all()):
                    raise InfiniteGradientError(
                        f"a gradient of {name} is infinite or not a number; load the model in "
                        "float32 or bfloat16 if it is in float16, or take a criterion or score "
                        "that needs no gradients"
                    )
        return found
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, flag, gradient in state:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
