"""Projection of rates onto a budget: shift, clip, and hit the weighted mean exactly."""

import math
from collections.abc import Mapping
from itertools import pairwise

from autoprune.errors import UsageError

# Zeroing a whole block disconnects the model; by default no method may go that far.
UPPER = 0.95
BISECTIONS = 200
# Between larger rates, floats are too far apart for a shift to meet the budget.
LARGEST_RAW = 1e6


def project(
    raw: Mapping[str, float],
    numels: Mapping[str, int],
    target: float,
    lower: float = 0.0,
    upper: float | None = None,
) -> dict[str, float]:
    """The nearest rates (weighted least squares) that meet the budget within bounds.

    Solves ``sum_l N_l clip(raw_l + c, lower, upper) = target * sum_l N_l`` for the shift ``c`` by
    bisection; ``c`` is then solved in closed form for the units that are not clipped, which leaves
    only float rounding error. Differences between unclipped units are kept.

    Args:
        raw: Desired share to prune per unit, any finite numbers.
        numels: Weights per unit.
        target: Share of all weights to prune, 0 ≤ target < 1.
        lower: Smallest allowed rate.
        upper: Largest allowed rate; None means 0.95, or halfway to 1 for targets above 0.9.

    Returns:
        Rate per unit, in the order of ``raw``.

    Raises:
        UsageError: If a raw rate is not finite, units differ, or the bounds exclude the target.
    """
    if upper is None:
        upper = max(UPPER, (1.0 + target) / 2)
    if set(raw) != set(numels) or not raw:
        raise UsageError(
            f"{len(raw)} rates for {len(numels)} layers; give one rate per prunable layer"
        )
    bad = next((name for name, value in raw.items() if not math.isfinite(value)), None)
    if bad is not None:
        raise UsageError(f"raw rate of {bad} is {raw[bad]}; an allocator must return finite rates")
    if not (lower <= target <= upper and lower >= 0.0 and upper <= 1.0):
        raise UsageError(
            f"sparsity {target:g} cannot be reached with rates between {lower:g} and {upper:g}; "
            "widen the bounds (they lie within 0 and 1) or change the sparsity"
        )
    if max(map(abs, raw.values())) > LARGEST_RAW:
        raw = _drawn_together(raw)
    names = list(raw)
    goal = target * math.fsum(numels[name] for name in names)

    def clipped(shift: float) -> dict[str, float]:
        return {name: min(max(raw[name] + shift, lower), upper) for name in names}

    low, high = lower - max(raw.values()), upper - min(raw.values())
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        rates = clipped(middle)
        if math.fsum(numels[name] * rates[name] for name in names) < goal:
            low = middle
        else:
            high = middle
    rates = clipped(high)
    free = [name for name in names if lower < rates[name] < upper]
    if free:
        inside = set(free)
        fixed = math.fsum(numels[n] * rates[n] for n in names if n not in inside)
        weight = math.fsum(numels[n] for n in free)
        shift = (goal - fixed - math.fsum(numels[n] * raw[n] for n in free)) / weight
        rates.update({n: min(max(raw[n] + shift, lower), upper) for n in free})
    return rates


def _drawn_together(raw: Mapping[str, float]) -> dict[str, float]:
    """The rates with gaps above 1 between neighbours cut to 1, from 0 upwards.

    Their projection is the same: the bounds are at most 1 apart, so of two rates with such a gap
    one is at its bound whatever the shift.
    """
    order = sorted(raw, key=raw.__getitem__)
    found = {order[0]: 0.0}
    for before, name in pairwise(order):
        found[name] = found[before] + min(raw[name] - raw[before], 1.0)
    return {name: found[name] for name in raw}
