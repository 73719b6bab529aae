"""Perplexity, KL and speed against plain computations."""

import math

import pytest
import torch

from autoprune.errors import UsageError
from autoprune.evaluation.kl import dense_predictions, kl_to_dense
from autoprune.evaluation.perplexity import evaluate_windows, perplexity_of
from autoprune.memory import peak_rss_mb
from autoprune.models.structure import prunable_linears
from autoprune.progress import Progress
from tests.support.tiny_models import random_windows, tiny_model


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "bloom", "mixtral"])
def test_equals_the_models_own_loss(family: str) -> None:
    model, windows = tiny_model(family), random_windows(5, 20)
    with torch.no_grad():
        losses = [model(input_ids=w[None], labels=w[None]).loss.item() for w in windows]
    found = evaluate_windows(model, windows)
    assert found.nll == pytest.approx(losses, abs=1e-5)
    assert found.tokens == 5 * 19
    assert found.perplexity == pytest.approx(math.exp(sum(losses) / 5), rel=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_batch_size_changes_nothing(batch: int) -> None:
    model, windows = tiny_model("llama"), random_windows(7, 16)
    reference, found = (
        evaluate_windows(model, windows),
        evaluate_windows(model, windows, batch=batch),
    )
    assert found.nll == pytest.approx(reference.nll, abs=1e-5)
    assert found.perplexity == pytest.approx(reference.perplexity, rel=1e-5)


def test_autocast_stays_near_and_leaves_the_model_in_float32() -> None:
    model, windows = tiny_model("llama"), random_windows(4, 16)
    exact = evaluate_windows(model, windows)
    near = evaluate_windows(model, windows, autocast=torch.bfloat16)
    assert near.nll != exact.nll
    assert near.nll == pytest.approx(exact.nll, rel=0.05)
    assert evaluate_windows(model, windows).nll == exact.nll


def test_progress_counts_windows() -> None:
    seen: list[Progress] = []
    evaluate_windows(tiny_model("llama"), random_windows(5), report=seen.append, batch=2)
    assert [(p.done, p.total) for p in seen] == [(2, 5), (4, 5), (5, 5)]


def test_a_broken_model_is_worst_not_a_crash() -> None:
    model, windows = tiny_model("llama"), random_windows(2)
    dense = dense_predictions(model, windows)
    prunable_linears(model)[3].write(torch.full((16, 16), float("nan")))
    assert evaluate_windows(model, windows).perplexity == math.inf
    assert kl_to_dense(model, dense) == (math.inf, math.inf)
    assert perplexity_of([800.0]) == math.inf


def test_kl_is_exact_with_the_whole_vocabulary_and_a_lower_bound_otherwise() -> None:
    model, windows = tiny_model("llama"), random_windows(4, 16)
    with torch.no_grad():
        before = model(input_ids=windows).logits.double().log_softmax(-1)
        exact, bounded = (
            dense_predictions(model, windows, top=96),
            dense_predictions(model, windows, top=8),
        )
        linear = prunable_linears(model)[5]
        linear.write(linear.read() * 0.5)
        after = model(input_ids=windows).logits.double().log_softmax(-1)
    expected = (before.exp() * (before - after)).sum(-1).mean(-1).tolist()
    assert kl_to_dense(model, exact) == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert kl_to_dense(model, exact, batch=1, windows=2) == pytest.approx(expected[:2], rel=1e-3)
    assert kl_to_dense(model, exact, windows=3, known=1) == kl_to_dense(model, exact, windows=3)[1:]
    lower = kl_to_dense(model, bounded)
    assert all(0 < low <= full * 1.001 for low, full in zip(lower, expected, strict=True))
    with pytest.raises(UsageError, match="9 windows"):
        kl_to_dense(model, exact, windows=9)


def test_kl_to_itself_is_zero() -> None:
    model, windows = tiny_model("qwen2"), random_windows()
    assert kl_to_dense(model, dense_predictions(model, windows, top=8)) == pytest.approx(
        [0, 0, 0], abs=1e-5
    )


def test_peak_memory_counts_this_process() -> None:
    assert peak_rss_mb() > 50
