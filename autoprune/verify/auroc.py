"""Areas under the ROC curve, with an interval, and the precision-recall curve of step scores."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95

Interval = tuple[float, float]


def placements(scores: Sequence[float], right: Sequence[bool]) -> list[float]:
    """For each wrong step, the share of right ones that score higher; a tie counts one half.

    Their mean is the AUROC.

    Args:
        scores: Score of each step.
        right: Whether it is right.

    Raises:
        ValueError: If no step is right, none is wrong, or there is not one score per step.
    """
    matrix = _above(*_arrays(scores, right))
    return [float(value) for value in matrix.mean(axis=1)]


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Probability that a right step scores above a wrong one; raises as :func:`placements`."""
    found = placements(scores, right)
    return sum(found) / len(found)


def chain_values(scores: Sequence[Sequence[float]], right: Sequence[Sequence[bool]]) -> list[float]:
    """One number per chain: the AUROC plus the chain's influence on it.

    Their mean is the AUROC, and the standard error of that mean is that of the AUROC over chains.
    Steps of one chain are correlated, and each wrong step is held against the same right ones.

    Args:
        scores: Scores of the steps of each chain.
        right: Whether each is right.

    Raises:
        ValueError: As :func:`placements`, over all chains.

    References:
        DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), page 837; for correlated scores,
        Obuchowski, Biometrics 53 (1997), page 567.
    """
    values, truth, chain = _joined(scores, right)
    above = _above(values, truth)
    area, found = above.mean(), np.zeros(len(scores))
    for steps, share in ((chain[~truth], above.mean(axis=1)), (chain[truth], above.mean(axis=0))):
        moved = np.bincount(steps, weights=share - area, minlength=len(scores))
        found += moved * len(scores) / len(steps)
    return [float(value) for value in area + found]


def auroc_interval(
    scores: Sequence[Sequence[float]], right: Sequence[Sequence[bool]], *, seed: int = 0
) -> Interval | None:
    """Percentile bootstrap interval of 95 % over chains, since steps of one chain are correlated.

    Args:
        scores: Scores of the steps of each chain.
        right: Whether each is right.
        seed: Seed of the resampling.

    Returns:
        The interval; None for fewer than two chains.

    Raises:
        ValueError: As :func:`placements`, over all chains.
    """
    if len(scores) < 2:
        return None
    values, truth, chain = _joined(scores, right)
    # Pairs of a wrong and a right step, summed by chain: [chains of wrong, chains of right].
    wins = np.zeros((len(scores), len(scores)))
    np.add.at(wins, np.ix_(chain[~truth], chain[truth]), _above(values, truth))
    good, bad = (np.bincount(chain[which], minlength=len(scores)) for which in (truth, ~truth))
    drawn = np.random.default_rng(seed).multinomial(
        len(scores), np.full(len(scores), 1 / len(scores)), RESAMPLES
    )
    pairs = (drawn @ bad) * (drawn @ good)
    found = ((drawn @ wins) * drawn).sum(axis=1)
    # A resample may contain no wrong step at all.
    kept = found[pairs > 0] / pairs[pairs > 0]
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # Resamples of a perfect verifier are all perfect, which does not make the value certain.
    return (float(low), float(high)) if low < high else None


def _joined(
    scores: Sequence[Sequence[float]], right: Sequence[Sequence[bool]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Score, label and number of the chain of every step."""
    flat = _arrays([s for one in scores for s in one], [r for one in right for r in one])
    return *flat, np.repeat(np.arange(len(scores)), [len(one) for one in scores])


def _arrays(
    scores: Sequence[float], right: Sequence[bool]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, truth = np.asarray(scores, np.float64), np.asarray(right, np.bool_)
    if values.shape != truth.shape or truth.all() or not truth.any():
        raise ValueError(
            f"{values.size} scores of {truth.size} steps, {truth.sum()} of them right, have no "
            "AUROC; it takes one score a step, right steps and wrong ones"
        )
    return values, truth


def _above(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[wrong, right]: 1 where the right step scores higher, one half for a tie."""
    wrong, right = values[~truth][:, None], values[truth][None]
    matrix: NDArray[np.float64] = (right > wrong) + 0.5 * (right == wrong)
    return matrix
