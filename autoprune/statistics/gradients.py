"""Root mean square gradients of the prunable weights over calibration windows."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.errors import InfiniteGradientError
from autoprune.models.structure import PrunableLinear
from autoprune.progress import Progress, Report, silent

# About the number of tokens in a window: the share of one token in the mean loss is so small that
# its gradient would vanish in float16. A power of two, so that dividing by it rounds nothing.
HALF_SCALE = 2.0**10


def gradient_norms(
    model: PreTrainedModel,
    linears: Sequence[PrunableLinear],
    windows: Sequence[Tensor],
    *,
    report: Report = silent,
) -> dict[str, Tensor]:
    """``sqrt(mean over windows of (dL/dW)^2)`` with the loss over every token of a window.

    One backward pass per window, in eval mode (GBLM-Pruner, arXiv 2311.04902, equation 3, uses
    the same norm). Each gradient is squared into its accumulator and freed as soon as it is
    complete, so they are never all in memory at once.
    """
    scale = loss_scale(model.dtype)
    parameters = {x.parameter: getattr(x.owner, x.attribute) for x in linears}
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    squares = {
        name: torch.zeros_like(p, dtype=torch.float32, requires_grad=False)
        for name, p in parameters.items()
    }
    with ExitStack() as stack:
        stack.callback(lambda: _set_flags(model, flags))
        _set_flags(model, dict.fromkeys(flags, False))
        for name, parameter in parameters.items():
            parameter.requires_grad_(True)
            hook = parameter.register_post_accumulate_grad_hook(_square_into(squares[name]))
            stack.callback(hook.remove)
        for number, window in enumerate(windows, 1):
            with torch.enable_grad():
                ids = window[None].to(model.device)
                logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
                loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
                torch.autograd.backward(loss * scale)
            report(Progress("gradients", number, len(windows)))
    roots = {
        name: value.div_(len(windows)).sqrt_().div_(scale).cpu() for name, value in squares.items()
    }
    for name, value in roots.items():
        if not bool(torch.isfinite(value).all()):
            raise InfiniteGradientError(
                f"a gradient of {name} is infinite or not a number; load the model in float32 or "
                "bfloat16, float16 overflows above 65504"
            )
    return {x.name: x.orient(roots[x.parameter]).contiguous() for x in linears}


def loss_scale(dtype: torch.dtype) -> float:
    """Factor of a loss whose gradients are of this type; divide them by it in float32."""
    return HALF_SCALE if dtype == torch.float16 else 1.0


def unscaled(gradient: Tensor | None, scale: float) -> Tensor | None:
    """A gradient of a scaled loss, in float32 where it was scaled."""
    return gradient if gradient is None or scale == 1.0 else gradient.float() / scale


def _square_into(total: Tensor) -> Callable[[Tensor], None]:
    def add(parameter: Tensor) -> None:
        if parameter.grad is not None:
            gradient = parameter.grad.float()
            total.addcmul_(gradient, gradient)
            parameter.grad = None

    return add


def _set_flags(model: PreTrainedModel, flags: dict[str, bool]) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(flags[name])
