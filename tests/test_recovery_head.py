"""The head of a recovery runs on a few tokens at a time: gradients, roundings, the teacher."""

import pytest
import torch
from torch import Tensor

from autoprune.evaluation.kl import (
    dense_predictions,
    divergences,
    divergences_and_slopes,
    kl_to_dense,
)
from autoprune.metrics import build_metric
from autoprune.pruning import MetricScore, PruningPlan, prune, teach
from autoprune.pruning.head import Head
from autoprune.repair import ModelRecovery
from tests.support.tiny_models import random_windows, tiny_model

USED = random_windows(3, 24)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
def test_the_head_in_parts_gives_the_gradients_of_the_whole(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.pruning.head.CHUNK", 7)
    model = tiny_model(family)
    predictions = dense_predictions(model, USED, top=9)
    score = MetricScore(build_metric("magnitude"))
    prune(model, score, PruningPlan.build(0.5), windows=USED)

    def gradients(cut: bool) -> tuple[float, list[Tensor]]:
        head = Head(model, USED)
        assert head._head is not None
        head._head = head._head if cut else None
        model.zero_grad()
        model.get_output_embeddings().weight.requires_grad_(False)
        distance = head.backward(predictions, 1, 0.5)
        return distance, [p.grad.clone() for p in model.parameters() if p.grad is not None]

    part, whole = gradients(True), gradients(False)
    assert part[0] == pytest.approx(whole[0])
    assert part[0] == pytest.approx(0.5 * kl_to_dense(model, predictions)[1], rel=1e-5)
    torch.testing.assert_close(part[1], whole[1])


def test_the_head_is_rounded_once_and_gives_the_bits_of_autocast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("autoprune.pruning.head.CHUNK", 7)
    model = tiny_model("llama")
    predictions = dense_predictions(model, USED, top=9)
    model.get_output_embeddings().weight.requires_grad_(False)
    rounded = Head(model, USED)
    asked = Head(model, USED)
    monkeypatch.setattr(asked, "_logits", lambda head, state: head(state))

    def gradients(head: Head) -> list[Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            head.backward(predictions, 1, 0.5)
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    pairs = zip(gradients(rounded), gradients(asked), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    assert rounded._rounded is not None and rounded._rounded.dtype == torch.bfloat16
    assert asked._rounded is None


@pytest.mark.parametrize(("family", "rows"), [("llama", 5), ("gpt2", 5), ("gemma2", 15)])
def test_a_teacher_holds_the_logits_of_a_few_tokens(
    family: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.pruning.head.CHUNK", 7)
    model, windows = tiny_model(family), random_windows(6, 15)
    how = ModelRecovery(steps=2, batch=1, top=9)
    sizes: list[int] = []
    head = model.get_output_embeddings()
    before = dense_predictions(model, windows[: how.windows], top=9)
    hook = head.register_forward_hook(lambda _, __, made: sizes.append(made.shape[-2]))
    made = teach(model, how, windows, windows, precision="float32")
    hook.remove()
    # The model is tried on eight tokens first, where the head is cut from it.
    assert set(sizes[2:]) == {rows}
    assert made.held_out is not None
    for found, part in ((made.held_out, slice(0, 4)), (made.train, slice(4, 6))):
        wanted = before.part(part)
        assert torch.equal(found.tokens, wanted.tokens) and torch.equal(found.ids, wanted.ids)
        torch.testing.assert_close(found.log_probability, wanted.log_probability)


@pytest.mark.parametrize("kept", [3, 40, 64])
@pytest.mark.parametrize("sharp", [1.0, 400.0])
def test_slopes_of_the_distance_are_those_of_its_derivative(kept: int, sharp: float) -> None:
    generator = torch.Generator().manual_seed(kept)
    logits = torch.randn(7, 64, generator=generator) * sharp
    dense = torch.log_softmax(torch.randn(7, 64, generator=generator) * 3, -1).topk(kept)
    ids = dense.indices.to(torch.int32)
    automatic = logits.clone().requires_grad_()
    expected = divergences(automatic, ids, dense.values)
    expected.sum().backward()
    found, slopes = divergences_and_slopes(logits.clone(), ids, dense.values)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-12)
    assert automatic.grad is not None and slopes.isfinite().all()
    torch.testing.assert_close(slopes, automatic.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("certain", [8.0, 14.0, 20.0])
def test_a_model_more_certain_than_the_dense_one_is_no_further_than_it_is(certain: float) -> None:
    """What it leaves to the rest is then far below the rounding of a sum close to one."""
    generator = torch.Generator().manual_seed(3)
    first = torch.arange(4096) == 0
    dense = torch.log_softmax(torch.randn(5, 4096, generator=generator) + 16.0 * first, -1)
    logits = torch.randn(5, 4096, generator=generator) + (16.0 + certain) * first
    kept = dense.topk(16)
    pruned = torch.log_softmax(logits.double(), -1)
    whole = (dense.double().exp() * (dense.double() - pruned)).sum(-1)
    exact = logits.double().requires_grad_()
    known, found = kept.values.double(), torch.log_softmax(exact, -1)
    left = found.scatter(-1, kept.indices, -torch.inf).logsumexp(-1)
    rest = 1 - known.exp().sum(-1)
    lumped = (known.exp() * (known - found.gather(-1, kept.indices))).sum(-1)
    lumped = lumped + rest * (rest.log() - left)
    lumped.sum().backward()
    assert exact.grad is not None
    distance, slopes = divergences_and_slopes(logits.clone(), kept.indices, kept.values)
    plain = divergences(logits, kept.indices, kept.values)
    for value in (distance, plain):
        torch.testing.assert_close(value, lumped.detach(), rtol=1e-3, atol=2e-6)
        assert (value <= whole + 2e-6).all()
    torch.testing.assert_close(slopes.double(), exact.grad, rtol=1e-2, atol=1e-9)


def test_a_window_is_compared_in_pieces_of_a_few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    predictions = dense_predictions(model, USED, top=9)
    prune(model, MetricScore(build_metric("magnitude")), PruningPlan.build(0.5), windows=USED)
    whole = kl_to_dense(model, predictions)
    sizes: list[int] = []

    def noted(logits: Tensor, ids: Tensor, dense: Tensor) -> Tensor:
        sizes.append(len(logits))
        return divergences(logits, ids, dense)

    monkeypatch.setattr("autoprune.evaluation.kl._TOKENS", 7)
    monkeypatch.setattr("autoprune.evaluation.kl.divergences", noted)
    assert kl_to_dense(model, predictions) == whole
    assert sizes == [7, 7, 7, 3] * len(USED)


def test_a_model_that_caps_its_logits_is_run_whole() -> None:
    assert Head(tiny_model("gemma2"), USED)._head is None
