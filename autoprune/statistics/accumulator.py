"""Running statistics of the inputs of one linear map.

Shapes: ``n`` tokens, ``i`` input features.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from autoprune.errors import AutopruneError, InfiniteActivationError
from autoprune.precision import WITHOUT_FLOAT64, where_float64_is

BASIC = frozenset({"x_norm", "x_mean", "x_var", "x_max"})
MOMENTS = frozenset({"x_norm", "x_mean", "x_var"})
FROM_GRAM = frozenset({"gram", "hessian_diag"})
GRAM_STRIPS = 4
# Rows are processed in pieces of this many numbers, which stay in a core's cache from one sum to
# the next; not used on an accelerator.
CACHED = 1 << 18
DAMPING = 0.01
MAX_DAMPING = 1.0


class InputAccumulator:
    """Mean, variance, maximum and, on request, the Gram matrix of all tokens seen.

    Means and squared deviations are merged in float64 (Chan, Golub and LeVeque 1979, equation 2.1),
    so that a feature with a large constant offset keeps its variance. The Gram matrix sums float32
    products in float32.

    Args:
        features: Number of input features.
        needs: Names of the statistics wanted; the others cost nothing.
        device: Device of the inputs, where sums stay until :meth:`result`, so that no batch waits
            for a copy; those in float64 are in main memory if the device has none.

    Attributes:
        tokens: Number of tokens seen.
        damping: Damping needed for the curvature of :meth:`result`, as a share of the mean
            diagonal; 0 if no curvature was computed.
    """

    def __init__(self, features: int, needs: Collection[str], device: torch.device) -> None:
        self.tokens = 0
        self.damping = 0.0
        self._needs = frozenset(needs)
        self._moments = not MOMENTS.isdisjoint(needs)
        sums = torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device
        self._mean = torch.zeros(features, dtype=torch.float64, device=sums)
        self._deviation = torch.zeros(features, dtype=torch.float64, device=sums)
        self._largest = torch.zeros(features, device=device)
        gram = not FROM_GRAM.isdisjoint(needs)
        self._gram = torch.zeros(features, features, device=device) if gram else None

    def add(self, x: Tensor) -> None:
        """Add a batch of inputs, ``[..., i]``."""
        x = x.detach().reshape(-1, x.shape[-1]).float()
        # The pass may round its own products, the sums stay float32.
        with torch.autocast(x.device.type, enabled=False):
            self._add(x)

    def _add(self, x: Tensor) -> None:
        count = x.shape[0]
        if count == 0:
            return
        mean = self._mean_of(x, count) if self._moments else None
        deviation = torch.zeros(x.shape[1], device=x.device)
        rows = count if x.device.type != "cpu" else max(CACHED // x.shape[1], 1)
        buffer, ones = torch.empty_like(x[:rows]), torch.ones(min(rows, count), device=x.device)
        for piece in torch.split(x, rows):
            if mean is not None:
                centred = torch.sub(piece, mean, out=buffer[: len(piece)])
                deviation.addmv_(centred.mul_(centred).T, ones[: len(piece)])
            if "x_max" in self._needs:
                # Two reductions: aminmax over the first axis is ten times slower on a CPU.
                largest = torch.maximum(piece.amax(0), -piece.amin(0))
                self._largest = torch.maximum(self._largest, largest)
        if mean is not None:
            self._merge(mean, deviation, count)
        if self._gram is not None:
            add_gram(self._gram, x)
        self.tokens += count

    def _mean_of(self, x: Tensor, count: int) -> Tensor:
        # A sum over tokens as a matrix-vector product runs at the speed of memory.
        return torch.mv(x.T, torch.ones(count, device=x.device)) / count

    def _merge(self, mean: Tensor, deviation: Tensor, count: int) -> None:
        delta = where_float64_is(mean).double() - self._mean
        total = self.tokens + count
        self._mean += delta * (count / total)
        self._deviation += where_float64_is(deviation).double()
        self._deviation += delta.square() * (self.tokens * count / total)

    def merge(self, other: "InputAccumulator") -> None:
        """Add everything seen by another accumulator with the same features and needs."""
        total = self.tokens + other.tokens
        if total == self.tokens:
            return
        delta = other._mean - self._mean
        self._mean += delta * (other.tokens / total)
        self._deviation += other._deviation + delta.square() * (self.tokens * other.tokens / total)
        self._largest = torch.maximum(self._largest, other._largest)
        if self._gram is not None and other._gram is not None:
            self._gram += other._gram
        self.tokens = total

    def result(self) -> dict[str, Tensor]:
        """The requested statistics, float32; see :mod:`autoprune.statistics.statistics`.

        If no token was seen, every feature counts the same, as if its inputs were standard normal,
        so metrics fall back to the weights alone.
        """
        if not self.tokens:
            return self._indifferent()
        count = self.tokens
        mean, variance = self._mean.cpu(), self._deviation.cpu() / count
        values = {
            "x_norm": (variance + mean.square()).sqrt(),
            "x_mean": mean,
            "x_var": variance,
            "x_max": self._largest.cpu(),
        }
        chosen = {name: value.float() for name, value in values.items() if name in self._needs}
        gram = None if self._gram is None else mirrored(self._gram / count).cpu()
        checked = [*chosen.values(), *([] if gram is None else [gram.diagonal()])]
        if not all(bool(torch.isfinite(value).all()) for value in checked):
            raise InfiniteActivationError(
                "an activation of the calibration pass is infinite or not a number; load the "
                "model in float32 or bfloat16, float16 overflows above 65504"
            )
        if gram is not None and "gram" in self._needs:
            chosen["gram"] = gram
        if gram is not None and "hessian_diag" in self._needs:
            chosen["hessian_diag"], self.damping = hessian_diagonal(gram, DAMPING)
        return chosen

    def _indifferent(self) -> dict[str, Tensor]:
        ones = torch.ones(len(self._largest))
        values = {"x_norm": ones, "x_mean": torch.zeros_like(ones), "x_var": ones, "x_max": ones}
        values |= {"hessian_diag": ones, "gram": torch.eye(len(ones))}
        # Copies, as a file of tensors refuses two that share memory.
        return {name: value.clone() for name, value in values.items() if name in self._needs}


def add_gram(total: Tensor, x: Tensor) -> None:
    """Add ``x^T x`` to the lower triangle of ``total``, [i, i], strip by strip.

    The matrix is symmetric, so four strips save three eighths of the work; the part above the
    diagonal is invalid until :func:`mirrored`.
    """
    features = x.shape[1]
    width = -(-features // GRAM_STRIPS)
    for start in range(0, features, width):
        stop = min(start + width, features)
        total[start:stop, :stop].addmm_(x[:, start:stop].T, x[:, :stop])


def mirrored(total: Tensor) -> Tensor:
    """The symmetric matrix whose lower triangle ``total`` holds."""
    lower = total.tril()
    return lower + lower.tril(-1).T


def hessian_diagonal(gram: Tensor, damping: float) -> tuple[Tensor, float]:
    """Curvature that Optimal Brain Surgeon divides by, per input feature.

    ``1 / [(G + damping * mean(diag G) * I)^-1]_jj``; the loss of removing a weight is half of
    ``W_j^2`` times this value (SparseGPT, arXiv 2301.00774, equation 3).
    """
    matrix = gram.double()
    scale = matrix.diagonal().mean()
    if scale == 0:
        return torch.zeros(matrix.shape[0]), damping  # no token reached this input
    identity = torch.eye(matrix.shape[0], dtype=torch.float64)
    while damping <= MAX_DAMPING:
        factor, failed = torch.linalg.cholesky_ex(matrix + damping * scale * identity)
        if not failed:
            inverse: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
            return inverse.square().sum(0).reciprocal().float(), damping
        damping *= 10
    raise AutopruneError(
        f"the Gram matrix {tuple(gram.shape)} is not positive definite with damping up to "
        f"{MAX_DAMPING:g} of its mean diagonal; its inputs are not finite, or it was not built "
        "from one set of tokens"
    )
