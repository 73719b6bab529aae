"""Integer budgets: weights to prune per layer, exact to one weight in the whole model."""

from collections.abc import Mapping
from fractions import Fraction

from autoprune.errors import UsageError
from autoprune.masking.pattern import NM


def budget_zeros(target: float, total: int) -> int:
    """Number of zeros in a share of ``total`` weights; halves round to even.

    The share is read as the decimal the user wrote, so 0.6 is exactly 3/5.
    """
    return round(Fraction(repr(float(target))) * total)


def layer_quotas(
    rates: Mapping[str, float], numels: Mapping[str, int], target: float
) -> dict[str, int]:
    """Zeros per layer by the largest-remainder method; they sum to the budget exactly.

    Args:
        rates: Share to prune per layer, with weighted mean ``target``.
        numels: Weights per layer, in model order.
        target: Share of all weights to prune.

    Returns:
        Zeros per layer, ``sum == budget_zeros(target, total)``. Equal remainders go to the earlier
        layer.

    Raises:
        UsageError: If the layers differ, a rate is outside [0, 1] or the rates miss the target by
            more than rounding can repair.
    """
    if set(rates) != set(numels):
        odd = sorted(set(rates) ^ set(numels))
        raise UsageError(
            f"rates for {len(rates)} layers, but the model has {len(numels)} prunable ones "
            f"(first that differs: {odd[0]}); give one rate per prunable layer"
        )
    wrong = next((name for name, rate in rates.items() if not 0.0 <= rate <= 1.0), None)
    if wrong is not None:
        raise UsageError(f"rate {rates[wrong]:g} of {wrong} is outside 0 ≤ rate ≤ 1; project it")
    names = list(numels)
    exact = [Fraction(rates[name]) * numels[name] for name in names]
    quotas = [int(value) for value in exact]
    missing = budget_zeros(target, sum(numels.values())) - sum(quotas)
    # A projected rate can sit one float below an integer quota, hence the two spare rounds.
    if not -len(names) <= missing <= 2 * len(names):
        reached = float(sum(exact) / sum(numels.values()))
        raise UsageError(
            f"the rates prune {reached:.6f} of the weights, {target:g} was asked; "
            "project the rates onto the budget first"
        )
    by_remainder = sorted(range(len(names)), key=lambda i: (quotas[i] - exact[i], i))
    step = 1 if missing > 0 else -1
    order = by_remainder if missing > 0 else by_remainder[::-1]
    while missing:
        moved = False
        for index in order:
            if missing and 0 <= quotas[index] + step <= numels[names[index]]:
                quotas[index] += step
                missing -= step
                moved = True
        if not moved:
            raise UsageError(f"no layer can take another zero at sparsity {target:g}")
    return dict(zip(names, quotas, strict=True))


def nm_quotas(numels: Mapping[str, int], pattern: NM) -> dict[str, int]:
    """Zeros per layer of an N:M pattern.

    Args:
        numels: Weights per layer; each a multiple of M (:meth:`NM.check`).
        pattern: The pattern.
    """
    return {name: numel // pattern.of * pattern.zeros for name, numel in numels.items()}


def row_quotas(zeros: int, rows: int, columns: int) -> tuple[int, int]:
    """Split a layer quota over equal rows.

    Returns:
        ``(base, longer)``: every row loses ``base`` weights, the first ``longer`` rows one more.
        All remainders are equal, so ties are broken by row index.

    Raises:
        UsageError: If the quota does not fit the layer.
    """
    if not 0 <= zeros <= rows * columns:
        raise UsageError(
            f"quota {zeros} does not fit a layer of {rows} x {columns} weights; "
            f"0 to {rows * columns} is possible"
        )
    base, longer = divmod(zeros, max(rows, 1))
    return base, longer
