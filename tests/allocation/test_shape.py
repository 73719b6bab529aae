"""Skewness, tails and spectral exponents against known distributions and invariances."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from autoprune.allocation.shape import (
    hill_exponent,
    median_exponent,
    peak_exponent,
    sampling_error,
    skewness,
    spectrum,
    tail_mean,
)


def test_skewness_of_known_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(1000, 1000, generator=generator)
    assert skewness(normal) == pytest.approx(0.9953, abs=0.02)
    laplace = torch.empty(1000, 1000).exponential_(generator=generator) * normal.sign()
    assert skewness(laplace) == pytest.approx(2.0, abs=0.05)
    assert skewness(normal * 1e-3) == pytest.approx(skewness(normal), rel=1e-6)
    assert skewness(torch.full((3, 3), -2.0)) == 0.0


def test_the_mean_of_the_tail_sees_weights_rarer_than_a_thousandth() -> None:
    weight = torch.randn(576, 576, generator=torch.Generator().manual_seed(1))
    values = np.sort(weight.abs().numpy().ravel().astype(np.float64))
    middle = values[weight.numel() // 2 - 1]
    assert tail_mean(weight) == pytest.approx((values[-332:].mean() - middle) / middle)
    assert tail_mean(weight) == pytest.approx(4.3, abs=0.1)
    assert tail_mean(weight * 1e-3) == pytest.approx(tail_mean(weight), rel=1e-6)
    # One in ten thousand at 20 sigma: a quantile of 99.9 % moves by less than its own noise.
    wild = weight.clone()
    wild.view(-1)[: 33 * 7919 : 7919] = 20.0
    assert tail_mean(wild) > 1.5 * tail_mean(weight)
    assert skewness(wild) > 1.5 * skewness(weight)
    half = torch.zeros(10, 10)
    half.view(-1)[:40] = 1.0
    assert tail_mean(half) == 0.0


@pytest.mark.parametrize("measure", [tail_mean, skewness])
@pytest.mark.parametrize("draw", [torch.randn, torch.rand])
def test_the_sampling_error_is_the_spread_over_matrices_of_one_distribution(
    measure: Callable[[torch.Tensor], float], draw: Callable[..., torch.Tensor]
) -> None:
    generator = torch.Generator().manual_seed(2)
    weights = [draw(150, 200, generator=generator) for _ in range(200)]
    spread = float(np.std([measure(weight) for weight in weights], ddof=1))
    error = float(np.median([sampling_error(weight, measure) for weight in weights]))
    assert error == pytest.approx(spread, rel=0.25)
    assert sampling_error(torch.ones(5, 5), measure) == float("inf")


def test_the_sampling_error_does_not_depend_on_the_number_of_columns() -> None:
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(6):
        scales = (0.5 * torch.randn(1088, generator=generator)).exp()
        weight = torch.randn(256, 1088, generator=generator) * scales
        found.append([sampling_error(weight[:, :width], skewness) for width in (1087, 1088)])
    # 1088 is 64 times 17, and each of 17 parts would be 64 whole columns: three times the error.
    usual, divisible = np.mean(found, axis=0)
    assert divisible == pytest.approx(usual, rel=0.2)


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


def test_constant_or_empty_spectrum_has_an_infinite_exponent() -> None:
    assert hill_exponent(torch.ones(4, dtype=torch.float64), 0) == float("inf")
    assert peak_exponent(spectrum(torch.eye(6))) == float("inf")
    for fit in (median_exponent, peak_exponent):
        assert fit(spectrum(torch.zeros(6, 4))) == float("inf")
