"""Built-in metrics against straight-line formulas in float64, and their language form."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from autoprune.candidate import Candidate
from autoprune.errors import UnknownNameError, UsageError
from autoprune.metrics import (
    METRICS,
    Metric,
    ParametricMetric,
    build_metric,
    candidate_metric,
    layer_scores,
    with_params,
)
from autoprune.metrics.language import parse
from autoprune.registry import Registry
from tests.support.metric_layers import layer

NAMES = ("gblm", "magnitude", "pruner-zero", "random", "ria", "sparsegpt", "wanda")


def _expected(name: str, w: np.ndarray, s: dict[str, np.ndarray]) -> np.ndarray:
    out, inputs = w.shape
    result = np.zeros_like(w)
    grad = s["grad_norm"]
    for i in range(out):
        for j in range(inputs):
            a = abs(w[i, j])
            result[i, j] = {
                "magnitude": a,
                "wanda": a * s["x_norm"][j],
                "ria": (a / np.abs(w[i]).sum() + a / np.abs(w[:, j]).sum())
                * math.sqrt(s["x_norm"][j]),
                "gblm": a * s["x_norm"][j] + a * 25 * grad[i, j],
                "pruner-zero": a * a * (grad[i, j] - grad.min()) / (grad.max() - grad.min()),
                "sparsegpt": w[i, j] ** 2 * s["hessian_diag"][j],
            }[name]
    return result


def test_registry_holds_the_metrics_of_the_catalogue() -> None:
    assert tuple(name for name, _ in METRICS.items()) == NAMES
    for name, metric in METRICS.items():
        assert isinstance(metric, Metric)
        assert metric.name == name
        assert metric.source
        assert metric.group in ("row", "matrix", "block", "global")


@pytest.mark.parametrize("name", [n for n in NAMES if n != "random"])
def test_score_equals_the_formula_written_out(name: str) -> None:
    weight, stats = layer(3)
    found = build_metric(name).score(weight, stats)
    wide = {key: value.double().numpy() for key, value in stats.items()}
    expected = torch.from_numpy(_expected(name, weight.double().numpy(), wide))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "random"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_formula_and_implementation_agree(name: str, dtype: torch.dtype) -> None:
    metric = build_metric(name)
    assert metric.formula is not None
    expression = parse(metric.formula)
    assert expression.needs == metric.needs
    assert expression.constants == dict(metric.params)
    for seed in range(5):
        weight, stats = layer(seed)
        weight = weight.to(dtype)
        torch.testing.assert_close(
            expression.evaluate(weight, stats), metric.score(weight, stats), rtol=1e-6, atol=1e-14
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_power_of_two_scale_of_the_weights_changes_no_ranking(name: str) -> None:
    weight, stats = layer(5)
    metric = build_metric(name)
    plain, scaled = metric.score(weight, stats), metric.score(weight * 8, stats)
    assert torch.equal(plain.flatten().argsort(), scaled.flatten().argsort())


def test_ria_ignores_the_scale_of_the_weights_and_wanda_follows_that_of_the_inputs() -> None:
    weight, stats = layer(6)
    louder = {**stats, "x_norm": stats["x_norm"] * 4}
    ria, wanda = build_metric("ria"), build_metric("wanda")
    assert torch.equal(ria.score(weight, stats), ria.score(weight * 4, stats))
    assert torch.equal(wanda.score(weight, stats) * 4, wanda.score(weight, louder))
    assert torch.equal(ria.score(weight, stats) * 2, ria.score(weight, louder))


def test_ria_without_activations_is_the_sum_of_both_shares() -> None:
    weight, stats = layer(7)
    score = build_metric("ria:exponent=0").score(weight, stats)
    rows, columns = weight.shape
    # Row shares sum to 1 per row, column shares to 1 per column.
    assert score.sum().item() == pytest.approx(rows + columns, rel=1e-5)


def test_ria_by_a_negative_power_is_its_formula_on_dead_inputs() -> None:
    weight, stats = torch.tensor([[0.0, 1.0], [1.0, 1.0]]), {"x_norm": torch.tensor([0.0, 1.0])}
    metric = build_metric("ria:exponent=-0.5")
    score = metric.score(weight, stats)
    assert torch.isfinite(score).all()
    torch.testing.assert_close(score, build_metric(f"expr:{metric.formula}").score(weight, stats))


def test_gblm_is_the_published_mix_in_other_units() -> None:
    weight, stats = layer(8)
    samples, tokens = 128, 2048
    x = stats["x_norm"] * math.sqrt(tokens)
    g = stats["grad_norm"] * 100 * math.sqrt(samples)
    published = weight.abs() * x + weight.abs() * g
    ours = build_metric("gblm").score(weight, stats) * math.sqrt(tokens)
    torch.testing.assert_close(ours, published, rtol=1e-5, atol=1e-7)


def test_dead_rows_and_columns_score_zero() -> None:
    weight, stats = layer(9)
    weight[2] = 0
    weight[:, 3] = 0
    for name in ("ria", "wanda", "magnitude", "sparsegpt"):
        score = build_metric(name).score(weight, stats)
        assert torch.isfinite(score).all()
        assert (score[2] == 0).all() and (score[:, 3] == 0).all()


def test_constant_gradient_gives_finite_scores() -> None:
    weight, stats = layer(9)
    flat = {**stats, "grad_norm": torch.full_like(weight, 0.25)}
    assert (build_metric("pruner-zero").score(weight, flat) == 0).all()


def test_random_depends_on_seed_name_and_shape_alone() -> None:
    metric = build_metric("random")
    weight, other = layer(1)[0], layer(2)[0]
    assert torch.equal(metric.score(weight, {}), metric.score(other, {}))
    first, second = (layer_scores(metric, name, weight, {}) for name in ("q_proj", "k_proj"))
    assert not torch.equal(first, second)
    assert torch.equal(layer_scores(metric, "q_proj", other, {}), first)
    magnitude = build_metric("magnitude")
    assert torch.equal(layer_scores(magnitude, "q_proj", weight, {}), weight.abs())
    assert torch.equal(build_metric("random:seed=0").score(weight, {}), metric.score(weight, {}))
    seeded = build_metric("random:seed=1").score(weight, {})
    assert not torch.equal(seeded, metric.score(weight, {}))
    state = torch.get_rng_state()
    metric.score(weight, {})
    assert torch.equal(state, torch.get_rng_state())
    big = metric.score(torch.empty(200, 300), {})
    assert big.mean().item() == pytest.approx(0.5, abs=0.01)
    assert metric.formula is None


def test_parameters_are_read_from_text() -> None:
    metric = build_metric("ria:exponent=1")
    assert metric.params == {"exponent": 1.0}
    weight, stats = layer(4)
    assert torch.equal(
        metric.score(weight, stats),
        build_metric("ria:exponent=0").score(weight, stats) * stats["x_norm"],
    )
    assert build_metric("ria").params == {"exponent": 0.5}


def test_expression_metric() -> None:
    metric = build_metric("expr:abs(W)*x_norm**{a:0.5}")
    weight, stats = layer(4)
    assert isinstance(metric, Metric)
    assert metric.formula == "abs(W) * x_norm ** {a:0.5}"
    assert metric.needs == {"x_norm"}
    assert metric.params == {"a": 0.5}
    changed = with_params(metric, {"a": 1.0})
    assert torch.equal(changed.score(weight, stats), build_metric("wanda").score(weight, stats))


def test_candidates_become_metrics_unless_they_are_python() -> None:
    weight, stats = layer(4)
    wanda = build_metric("wanda").score(weight, stats)
    formula = candidate_metric(Candidate("expression", "abs(W) * x_norm ** {p:2}", {"p": 1.0}))
    assert torch.equal(formula.score(weight, stats), wanda)
    builtin = candidate_metric(Candidate("builtin", "ria", {"exponent": 0.25}))
    assert builtin.params == {"exponent": 0.25}
    with pytest.raises(UsageError, match="sandbox"):
        candidate_metric(Candidate("python", "def score(W, stats, params): return W"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wandaa", "did you mean wanda"),
        ("", "unknown metric"),
        ("wanda:a=1", "no parameter 'a'; parameters: none"),
        ("ria:exponnt=1", "parameters: exponent"),
        ("ria:exponent=half", "write NAME:key=number"),
        ("ria:exponent", "write NAME:key=number"),
        ("ria:exponent=nan", "pass a number"),
        ("expr:x_norm", "multiply it by abs"),
        ("expr:", "empty formula"),
    ],
)
def test_wrong_text_says_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_metric(text)


def test_unknown_name_is_its_own_error() -> None:
    with pytest.raises(UnknownNameError):
        build_metric("nope")


def test_missing_statistic_is_named() -> None:
    with pytest.raises(UsageError, match=r"'wanda' needs the statistic 'x_norm'; available: none"):
        build_metric("wanda").score(layer()[0], {})
    with pytest.raises(UsageError, match="needs the statistic 'grad_norm'"):
        build_metric("expr:abs(W) * grad_norm").score(layer()[0], {})


def test_a_metric_of_ones_own_takes_ten_lines() -> None:
    @dataclass(frozen=True)
    class Peak(ParametricMetric):
        name: ClassVar[str] = "peak"
        source: ClassVar[str] = "a user"
        needs: ClassVar[frozenset[str]] = frozenset({"x_max"})
        power: float = 1.0

        def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
            return weight.abs() * self.statistic(stats, "x_max") ** self.power

    registry: Registry[Metric] = Registry("metric", "autoprune.none")
    registry.add("peak", Peak())
    weight, stats = layer(2)
    changed = with_params(registry.get("peak"), {"power": 0.0})
    assert changed.params == {"power": 0.0} and changed.formula is None
    assert torch.equal(changed.score(weight, stats), weight.abs())
