"""A reason is read by the dense model of the search's bench, and scored by its verifier."""

from pathlib import Path

import pytest
import torch

from autoprune.errors import UsageError
from autoprune.search.steps import Failed, Verified, Verify
from autoprune.verify import Training, draw_chains, open_verifier, train_verifier
from tasks import steps
from tasks.search_bench import SearchBench
from tests.support.tiny_subject import tiny_subject

REASON = ("Outliers matter.", "The recipe: abs(W) | row | uniform.", "Perplexity against C1: -2 %.")


def wanted(*reason: str) -> Verify:
    return Verify("C2.verify", 1, 0, "C2", "How?", reason)


def test_the_dense_model_reads_whatever_a_recipe_left(bench: SearchBench) -> None:
    bench.judge_verifier = "surprisal"
    (expected,) = [open_verifier("surprisal", bench.loaded).score("How?", REASON)]
    assert 0.0 < min(expected) < max(expected) < 1.0
    bench.dense.restore()
    for layer in bench.layers:
        layer.write(torch.zeros_like(layer.read()))
    found = steps.do(bench, wanted(*REASON))
    assert isinstance(found, Verified) and list(found.scores) == expected
    # What the reader cannot take costs the search nothing but this score.
    too_long = steps.do(bench, wanted("so " * 2000))
    assert isinstance(too_long, Failed) and "positions" in too_long.detail


def test_a_trained_one_reads_with_its_own_model_alone(bench: SearchBench, tmp_path: Path) -> None:
    chains, training = draw_chains(20, 0), Training(epochs=1)
    train_verifier(bench.loaded, training, chains).save(tmp_path / "own")
    train_verifier(tiny_subject(seed=5), training, chains).save(tmp_path / "other")
    bench.judge_verifier = str(tmp_path / "own")
    assert isinstance(steps.do(bench, wanted(*REASON)), Verified)
    bench.close()
    bench.judge_verifier = str(tmp_path / "other")
    with pytest.raises(UsageError, match="was trained for the reader tiny-5"):
        steps.do(bench, wanted(*REASON))
