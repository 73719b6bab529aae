"""The benchmark of published figures: its prunings on a tiny model, its skips without a hub."""

import pytest
import torch
from tiny_subject import tiny_subject

from autoprune.models.structure import prunable_linears
from benchmarks.__main__ import CATALOGUE
from benchmarks.published import METHODS, TARGETS, Target, prune, reproduce


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
@pytest.mark.parametrize("method", METHODS)
def test_half_of_the_weights_go(method: str, pattern: str) -> None:
    subject = tiny_subject()
    calibration = torch.randint(2, 258, (4, 32), generator=torch.Generator().manual_seed(0))
    prune(subject, Target("tiny", method, pattern, 32, 1.0, ""), calibration)
    for linear in prunable_linears(subject.model):
        zero = linear.read() == 0
        if method == "dense":
            assert not zero.any()
            continue
        assert int(zero.sum()) == zero.numel() // 2
        if pattern == "2:4":
            assert (zero.view(-1, 4).sum(1) == 2).all()
        elif method == "wanda":
            assert (zero.sum(1) == zero.shape[1] // 2).all()


def test_what_cannot_be_loaded_is_skipped_with_its_reason() -> None:
    target = Target("nobody/no-such-model", "wanda", "2:4", 2048, 60.91, "a paper")
    (row,) = reproduce(target.model, [target], torch.float32)
    assert row["measured"] == "-" and "nobody/no-such-model" in row["note"]
    assert row["note"].startswith("skipped: ")


def test_it_is_listed_and_covers_every_method() -> None:
    assert "published" in CATALOGUE and "compact" in CATALOGUE
    assert {target.method for target in TARGETS} == set(METHODS)
    assert {"facebook/opt-125m", "meta-llama/Llama-2-7b-hf"} <= {t.model for t in TARGETS}
