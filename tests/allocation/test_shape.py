"""Skewness, quantiles and spectral exponents against known distributions and invariances."""

import numpy as np
import pytest
import torch

from autoprune.allocation.shape import (
    hill_exponent,
    median_exponent,
    peak_exponent,
    skewness,
    spectrum,
    tail_quantile,
)


def test_skewness_of_known_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(1000, 1000, generator=generator)
    assert skewness(normal) == pytest.approx(0.9953, abs=0.02)
    laplace = torch.empty(1000, 1000).exponential_(generator=generator) * normal.sign()
    assert skewness(laplace) == pytest.approx(2.0, abs=0.05)
    assert skewness(normal * 1e-3) == pytest.approx(skewness(normal), rel=1e-6)
    assert skewness(torch.full((3, 3), -2.0)) == 0.0


def test_one_wild_weight_moves_the_skew_but_not_the_quantile() -> None:
    weight = torch.randn(100, 100, generator=torch.Generator().manual_seed(1))
    wild = weight.clone()
    wild[0, 0] = 1e4
    assert skewness(wild) > 20 * skewness(weight)
    assert tail_quantile(wild) == pytest.approx(tail_quantile(weight), rel=0.05)
    values = np.sort(weight.abs().numpy().ravel())
    assert tail_quantile(weight) == pytest.approx((values[9989] - values[4999]) / values[4999])


def test_hill_recovers_a_pareto_exponent() -> None:
    uniform = torch.rand(200_000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    values = (1 - uniform).pow(-1.0 / 2.0).sort().values
    assert hill_exponent(values, 0) == pytest.approx(3.0, abs=0.03)
    assert median_exponent(values) == pytest.approx(3.0, abs=0.03)
    assert peak_exponent(values[::100]) == pytest.approx(3.0, abs=0.3)


def test_spectrum_is_squared_singular_values_and_orthogonally_invariant() -> None:
    generator = torch.Generator().manual_seed(3)
    for shape in ((30, 50), (50, 30)):
        weight = torch.randn(shape, generator=generator)
        reference = torch.linalg.svdvals(weight.double()).square().flip(0)
        assert torch.allclose(spectrum(weight), reference, rtol=1e-9)
        rotation = torch.linalg.qr(torch.randn(shape[0], shape[0], generator=generator)).Q
        for fit in (median_exponent, peak_exponent):
            exponent = fit(spectrum(weight))
            assert fit(spectrum(weight * 7.0)) == pytest.approx(exponent, rel=1e-4)
            assert fit(spectrum(rotation @ weight)) == pytest.approx(exponent, rel=1e-3)


def test_peak_fit_equals_the_exhaustive_search() -> None:
    values = spectrum(torch.randn(120, 200, generator=torch.Generator().manual_seed(4))).numpy()
    counts, edges = np.histogram(np.log10(values), bins=100)
    peak = 10 ** edges[counts.argmax()]
    for bug, low in ((False, 0.95 * peak), (True, np.log10(0.95 * peak))):
        best = (np.inf, np.inf)
        for i in range(len(values) - 1):
            if low <= values[i] <= 1.5 * peak:
                n = len(values) - i
                a = 1 + n / sum(np.log(values[j] / values[i]) for j in range(i, len(values)))
                ks = max(
                    abs(1 - (values[j] / values[i]) ** (1 - a) - (j - i) / n)
                    for j in range(i, len(values))
                )
                best = min(best, (ks, a))
        assert peak_exponent(torch.from_numpy(values), bug) == pytest.approx(best[1], rel=1e-9)


def test_constant_spectrum_has_an_infinite_exponent() -> None:
    assert hill_exponent(torch.ones(4, dtype=torch.float64), 0) == float("inf")
    assert peak_exponent(spectrum(torch.eye(6))) == float("inf")
