"""Equal tuning: each allocator's strength gets the same few trials on the selection split."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from autoprune.allocation import build_allocator
from autoprune.comparison.methods import Method, with_allocation
from autoprune.comparison.plan import Target
from autoprune.names import UNSTRUCTURED

# Half of the range of rates, tried after the allocator's default; a few trials cover the range.
WIDTHS = (0.15, 0.05, 0.21, 0.1, 0.3, 0.025)
STRENGTHS = {"ramp": "half_width", "sdsa": "strength", "owl": "lam", "dlp": "alpha"}
# Strengths relative to the target sparsity instead of differences from it.
RELATIVE = {"alpha": "eps"}


def variants(method: Method, target: Target, trials: int) -> tuple[Method, ...]:
    """Return the method at ``trials`` strengths, its default first; empty if nothing can be tuned.

    A strength other than the default is kept, and N:M leaves no room for tuning.
    """
    if method.scheme:
        return ()
    allocator: Any = build_allocator(method.allocation)
    name = STRENGTHS.get(allocator.NAME) or RELATIVE.get(allocator.NAME)
    if name is None or trials < 1 or target.pattern != UNSTRUCTURED or method.peer is not None:
        return ()
    default = allocator.defaults()[name]
    if getattr(allocator, name) != default or getattr(allocator, "beta", None) is not None:
        return ()
    scale = 1.0 if allocator.NAME in STRENGTHS else 1.0 / max(target.sparsity, 1e-9)
    widths = (round(min(width * scale, 0.95), 4) for width in WIDTHS)
    strengths = tuple(dict.fromkeys((default, *widths)))[:trials]
    made = (replace(allocator, **{name: strength}) for strength in strengths)
    return tuple(with_allocation(method, one.text) for one in made)


def best_variant(
    candidates: Sequence[Method], losses: Sequence[float | None], default: Method
) -> Method:
    """Return the variant with the lowest selection loss, the first if several are equal."""
    finite = [
        (loss, index)
        for index, loss in enumerate(losses)
        if loss is not None and math.isfinite(loss)
    ]
    return candidates[min(finite)[1]] if finite else default
