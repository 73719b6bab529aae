"""Running statistics of the inputs of one linear map.

Shapes: ``n`` tokens, ``i`` input features.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from autoprune.errors import AutopruneError

BASIC = frozenset({"x_norm", "x_mean", "x_var", "x_max"})
FROM_GRAM = frozenset({"gram", "hessian_diag"})
DAMPING = 0.01
MAX_DAMPING = 1.0


class InputAccumulator:
    """Mean, spread, maximum and, where asked, the Gram matrix of all tokens seen.

    Means and squared deviations are merged in float64 (Chan, Golub and LeVeque 1979, equation 2.1),
    so that a feature with a large constant offset keeps its variance. The Gram matrix sums float32
    products in float32.

    Args:
        features: Number of input features.
        gram: Whether to keep the Gram matrix.
        device: Where the Gram matrix lies; the vectors are small and stay in main memory.
    """

    def __init__(self, features: int, *, gram: bool, device: torch.device) -> None:
        self.tokens = 0
        self._mean = torch.zeros(features, dtype=torch.float64)
        self._deviation = torch.zeros(features, dtype=torch.float64)
        self._largest = torch.zeros(features)
        self._gram = torch.zeros(features, features, device=device) if gram else None

    def add(self, x: Tensor) -> None:
        """Take in a batch of inputs, ``[..., i]``."""
        x = x.detach().reshape(-1, x.shape[-1]).float()
        count = x.shape[0]
        if count == 0:
            return
        mean = x.mean(0)
        deviation = (x - mean).square_().sum(0).cpu().double()
        delta = mean.cpu().double() - self._mean
        total = self.tokens + count
        self._mean += delta * (count / total)
        self._deviation += deviation + delta.square() * (self.tokens * count / total)
        low, high = torch.aminmax(x, dim=0)
        self._largest = torch.maximum(self._largest, torch.maximum(-low, high).cpu())
        if self._gram is not None:
            self._gram.addmm_(x.T, x)
        self.tokens = total

    def result(self, needs: Collection[str]) -> dict[str, Tensor]:
        """The statistics asked for, float32; see :mod:`autoprune.calibration.statistics`.

        Raises:
            AutopruneError: If an activation was not finite.
        """
        count = max(self.tokens, 1)
        variance = self._deviation / count
        values = {
            "x_norm": (variance + self._mean.square()).sqrt(),
            "x_mean": self._mean,
            "x_var": variance,
            "x_max": self._largest,
        }
        if not all(bool(torch.isfinite(value).all()) for value in values.values()):
            raise AutopruneError(
                "an activation of the calibration pass is infinite or not a number; load the "
                "model in float32 or bfloat16, float16 overflows above 65504"
            )
        chosen = {name: value.float() for name, value in values.items() if name in needs}
        if self._gram is not None:
            gram = (self._gram / count).cpu()
            if "gram" in needs:
                chosen["gram"] = gram
            if "hessian_diag" in needs:
                chosen["hessian_diag"] = hessian_diagonal(gram)
        return chosen


def hessian_diagonal(gram: Tensor, damping: float = DAMPING) -> Tensor:
    """Curvature that Optimal Brain Surgeon divides by, per input feature.

    ``1 / [(G + damping * mean(diag G) * I)^-1]_jj``, so that the loss of removing a weight is half
    of ``W_j^2`` times it (SparseGPT, arXiv 2301.00774, equation 3).

    Args:
        gram: Mean of ``x x^T`` over tokens, ``[i, i]``.
        damping: Share of the mean diagonal that is added; ten times more on each failed attempt.

    Returns:
        ``[i]``, float32, not negative.

    Raises:
        AutopruneError: If the matrix is not positive definite even with the largest damping.
    """
    matrix = gram.double()
    scale = matrix.diagonal().mean()
    if scale == 0:
        return torch.zeros(matrix.shape[0])  # no token reached this input
    identity = torch.eye(matrix.shape[0], dtype=torch.float64)
    while damping <= MAX_DAMPING:
        factor, failed = torch.linalg.cholesky_ex(matrix + damping * scale * identity)
        if not failed:
            inverse: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
            return inverse.square().sum(0).reciprocal().float()
        damping *= 10
    raise AutopruneError(
        f"the Gram matrix {tuple(gram.shape)} is not positive definite with damping up to "
        f"{MAX_DAMPING:g} of its mean diagonal; its inputs are not finite, or it was not built "
        "from one set of tokens"
    )
