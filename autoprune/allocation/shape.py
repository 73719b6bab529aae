"""Shape of a weight distribution: skewness, mean of the tail, spectral tail exponent."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from autoprune.precision import in_float64

HISTOGRAM_BINS = 100
TAIL_PART = 1000
# Primes: parts are not whole columns unless the prime divides the number of columns.
ERROR_PARTS = (17, 19, 23)
SMALLEST_PART = 16


def skewness(weight: Tensor) -> float:
    """Third standardised moment of ``|W|``: E[(a - mu)^3] / sigma^3.

    Two passes in float64: sums of cubes in half precision are worthless. Gaussian weights give
    0.995, Laplacian ones 2. A constant matrix gives 0.
    """
    centred = in_float64(weight.detach()).abs().reshape(-1)
    centred = centred - centred.mean()
    squares = centred.square()
    variance = float(squares.mean())
    if variance == 0.0:
        return 0.0
    third = float(torch.dot(squares, centred)) / centred.numel()
    return float(third / variance**1.5)


def tail_mean(weight: Tensor) -> float:
    """Tail measure of ``|W|``: (mean of the largest thousandth - median) / median.

    Unlike a quantile, the mean sees weights rarer than a thousandth, such as the 33 of 331,776
    weights at 20 sigma in large models. The thousandth is ``ceil(n / 1000)`` weights, the median
    the order statistic of rank ``ceil(n / 2)``. A matrix that is half zero gives 0. Gaussian
    weights give about 4.3.
    """
    values = weight.detach().abs().float().reshape(-1).cpu().numpy()
    middle = math.ceil(values.size / 2) - 1
    first = values.size - math.ceil(values.size / TAIL_PART)
    part = np.partition(values, (middle, first))
    median, top = float(part[middle]), float(part[first:].mean(dtype=np.float64))
    return (top - median) / median if median > 0 else 0.0


def sampling_error(weight: Tensor, measure: Callable[[Tensor], float]) -> float:
    """Standard error of a statistic of a matrix's weights, from equal parts of the matrix.

    ``sd(parts) / sqrt(parts)`` over up to 17 interleaved parts (19 or 23 where they would be whole
    columns), for any distribution of weights. A matrix too small for two parts gives infinity,
    since nothing is known about it.
    """
    values, columns = weight.detach().reshape(-1), weight.shape[-1]
    wanted = next((prime for prime in ERROR_PARTS if columns % prime), ERROR_PARTS[-1])
    parts = min(wanted, values.numel() // SMALLEST_PART)
    if parts < 2:
        return math.inf
    found = np.array([measure(values[start::parts]) for start in range(parts)])
    return float(found.std(ddof=1)) / math.sqrt(parts)


def spectrum(weight: Tensor) -> Tensor:
    """Eigenvalues of W^T W that are not numerically zero, ascending, float64 [k].

    Computed from the smaller of the two Gram matrices, several times faster than an SVD.
    """
    matrix = in_float64(weight.detach())
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.t()
    values: Tensor = torch.linalg.eigvalsh(matrix @ matrix.t())
    return values[values > values[-1].clamp_min(0) * 1e-12]


def hill_exponent(eigenvalues: Tensor, start: int) -> float:
    """Maximum-likelihood power-law exponent of the tail from index ``start`` on.

    alpha = 1 + k / sum_j ln(e_j / e_start), k the number of tail values (AlphaPruning, arXiv
    2410.10912). Infinite when the tail is constant, or empty as in a matrix of zeros.
    """
    tail = eigenvalues[start:]
    total = float(torch.log(tail / tail[:1]).sum())
    return 1.0 + tail.numel() / total if total > 0 else math.inf


def median_exponent(eigenvalues: Tensor) -> float:
    """Exponent of the upper half of the spectrum (``fit=mid``)."""
    return hill_exponent(eigenvalues, eigenvalues.numel() // 2)


def peak_exponent(eigenvalues: Tensor, bug_compatible: bool = False) -> float:
    """Exponent of the tail that starts near the spectrum's peak (``fit=peak``).

    The peak is the left edge of the fullest of 100 bins of log10(e). Of all start values between
    0.95 and 1.5 times the peak, the one with the smallest Kolmogorov-Smirnov distance to its own
    fit is used. The reference implementation compares log10(0.95 peak) with e itself, which makes
    the lower bound nearly void; ``bug_compatible`` does the same.
    """
    values = eigenvalues.cpu().numpy()
    if values.size < 3:
        return median_exponent(eigenvalues)
    counts, edges = np.histogram(np.log10(values), bins=HISTOGRAM_BINS)
    peak = 10.0 ** float(edges[int(counts.argmax())])
    low = math.log10(0.95 * peak) if bug_compatible else 0.95 * peak
    logs = np.log(values)
    best = (math.inf, math.inf)
    for start in np.flatnonzero((values[:-1] >= low) & (values[:-1] <= 1.5 * peak)):
        tail = logs[start:] - logs[start]
        count = tail.size
        if tail[-1] <= 0:
            continue
        alpha = 1.0 + count / float(tail.sum())
        model = 1.0 - np.exp((1.0 - alpha) * tail)
        distance = float(np.abs(model - np.arange(count) / count).max())
        best = min(best, (distance, alpha))
    return best[1] if math.isfinite(best[1]) else median_exponent(eigenvalues)
