"""Checks that the host makes on the numbers themselves; none can be forged from inside."""

import numpy as np
from numpy.typing import NDArray

from sandbox.codes import Code

Scores = NDArray[np.float32]
_SAMPLE = 4096


def clean_text(text: str, limit: int = 400) -> str:
    """Turn hostile text into one printable line of at most ``limit`` characters."""
    printable = "".join(ch if ch.isprintable() else " " for ch in text[: 8 * limit])
    line = " ".join(printable.encode("utf-8", "replace").decode("utf-8").split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def judge_scores(scores: Scores, index: int, distinct: int | None) -> tuple[Code, str] | None:
    """Check one layer's scores."""
    # Minimum and maximum propagate NaN: two passes without a temporary of the same size.
    low, high = float(scores.min()), float(scores.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(scores.size - np.isfinite(scores).sum())
        return Code.NAN_SCORES, (
            f"layer {index}: {bad} of {scores.size} scores are NaN or infinite; guard divisions "
            "and logarithms (add a small constant, clamp)"
        )
    if distinct is None:
        return None
    wanted = min(distinct, scores.size)
    if low == high or _count_distinct(scores, wanted) < wanted:
        seen = np.unique(scores).size
        return Code.CONSTANT_SCORES, (
            f"layer {index}: {seen} distinct scores among {scores.size}; at least {wanted} are "
            "needed to rank weights"
        )
    return None


def judge_weights(weights: Scores, index: int) -> tuple[Code, str] | None:
    """Check one layer's new weights, [out, in]; the library counts their zeros."""
    if np.isfinite(weights.min()) and np.isfinite(weights.max()):
        return None
    bad = int(weights.size - np.isfinite(weights).sum())
    return Code.NAN_WEIGHTS, (
        f"layer {index}: {bad} of {weights.size} new weights are NaN or infinite; damp the Gram "
        "matrix, guard divisions"
    )


def judge_repeat(first: list[Scores], second: list[Scores]) -> tuple[Code, str] | None:
    """Compare two runs bit by bit; the second ran in another container and order."""
    for index, (one, two) in enumerate(zip(first, second, strict=True)):
        different = one.view(np.uint32) != two.view(np.uint32)
        if different.any():
            row, column = (int(part[0]) for part in np.nonzero(different))
            return Code.NONDETERMINISTIC, (
                f"layer {index}: {int(different.sum())} of {one.size} numbers differ when the same "
                f"layers are done again in another order (expected {one[row, column]:.6g}, got "
                f"{two[row, column]:.6g} at [{row}, {column}]); use no random numbers, clock or "
                "state kept between calls"
            )
    return None


def _count_distinct(scores: Scores, wanted: int) -> int:
    flat = scores.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLE)]
    count = int(np.unique(sample).size)
    return count if count >= wanted else int(np.unique(flat).size)
