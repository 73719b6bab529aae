"""One model on a bench: recipes come off again, designed code comes in by a scorer."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autoprune import Bench, Budget, Recipe
from autoprune.bench import calibration
from autoprune.bench.mask_memory import MaskMemory
from autoprune.bench.scoring import CandidateRejectedError, HostScorer
from autoprune.bench.text import BenchText
from autoprune.bench.time_limit import limited
from autoprune.errors import DamagedStatisticsError, OutOfTimeError, UsageError
from autoprune.evaluation.kl import kl_to_dense
from autoprune.pruning import PruneOutcome, PruningPlan
from autoprune.recipe import Candidate
from autoprune.text import windows
from tests.support.given_scorer import PYTHON, GivenScorer, wanda


def weights(bench: Bench) -> list[Tensor]:
    return [layer.read().clone() for layer in bench.layers]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(one, two) for one, two in zip(left, right, strict=True))


@pytest.mark.parametrize("recipe", ["wanda", "wanda+mrp", "wanda+walk:mrp", "wanda+sequential"])
def test_dense_again_on_the_way_out_even_by_an_error(bench: Bench, recipe: str) -> None:
    before = weights(bench)
    with pytest.raises(KeyError), bench.pruned(recipe, 0.5) as outcome:
        zeros = sum(int((weight == 0).sum()) for weight in weights(bench))
        assert zeros == outcome.zeros == bench.prunable // 2
        raise KeyError
    assert same(before, weights(bench))
    with bench.pruned(recipe, 0.5) as again:
        assert again.keep.keys() == outcome.keep.keys() == {x.name for x in bench.layers}
        assert all(torch.equal(again.keep[name], mask) for name, mask in outcome.keep.items())
        assert again.mask_digest == outcome.mask_digest


@pytest.mark.parametrize(
    ("budget", "share"),
    [(Budget(0.0), 0.0), (Budget(0.999), 0.999), (Budget(None, "1:4"), 0.25)],
)
def test_extreme_budgets_are_exact(bench: Bench, budget: Budget, share: float) -> None:
    with bench.pruned("magnitude", budget) as outcome:
        zeros = sum(int((weight == 0).sum()) for weight in weights(bench))
    assert outcome.zeros == zeros == round(share * bench.prunable)


@pytest.mark.parametrize("recipe", ["wanda+mrp", "wanda+sequential", "ria+owl"])
def test_a_model_that_is_pruned_for_good_costs_no_copy(bench: Bench, recipe: str) -> None:
    made = Recipe.parse(recipe)
    plan = PruningPlan.of_recipe(made, 0.5)
    with bench.for_good():
        outcome = bench.prune_by(made.metric, plan, 0)
        assert "dense" not in vars(bench)
    for asks in (lambda: bench.dense, lambda: bench.calibrated({"x_norm"})):
        with pytest.raises(RuntimeError, match="was pruned for good; open another bench"):
            asks()
    found, place = weights(bench), Path(bench.model_ref)
    assert sum(int((weight == 0).sum()) for weight in found) >= outcome.zeros
    with Bench(str(place), bench.store, bench.text) as other, other.pruned(recipe, 0.5) as again:
        assert again.mask_digest == outcome.mask_digest and same(weights(other), found)


def test_a_bench_without_text_prunes_for_good_what_reads_none(bench: Bench) -> None:
    plan = PruningPlan.build(0.5)
    with (
        Bench(bench.model_ref, bench.store, BenchText("", 0, {}), scorer=HostScorer()) as bare,
        bare.for_good(),
    ):
        outcome = bare.prune_by(Candidate.parse("magnitude"), plan, 0)
        assert outcome.zeros == bare.prunable // 2 and not bare.windows


def test_what_cannot_be_collected_is_not_asked_for_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected = calibration.found_or_collected

    def some(*args: Any, needs: Any, **rest: Any) -> Any:
        if "grad_norm" in needs:
            raise UsageError("a gradient is infinite")
        return collected(*args, needs=needs, **rest)

    monkeypatch.setattr(calibration, "found_or_collected", some)
    with pytest.raises(UsageError, match="infinite"):
        bench.measure("gblm", 0.5)
    assert bench.measure("wanda", 0.5).perplexity > 0


def test_a_time_limit_is_that_of_the_pass_and_no_other(bench: Bench) -> None:
    made = bench.statistics_of(0)
    with limited(bench, 1e-9), pytest.raises(OutOfTimeError):
        made.require({"x_norm"})
    # Made under a limit, they may be extended after it.
    bench._statistics = None
    with limited(bench, 60.0):
        later = bench.statistics_of(0)
    assert later.require({"x_norm", "x_max"})


def test_a_stopped_pass_of_the_dense_model_leaves_the_pruned_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with bench.pruned("wanda", 0.5):
        before = weights(bench)
        with monkeypatch.context() as patch:
            patch.setattr("autoprune.bench.bench.dense_predictions", stopped)
            with pytest.raises(KeyboardInterrupt):
                bench.evaluate("selection", kl=True)
        assert same(before, weights(bench))


def test_products_are_rounded_on_selection_text_alone(bench: Bench) -> None:
    plain = {part: bench.evaluate(part, kl=True) for part in ("selection", "sealed")}
    bench.predictions("selection")
    bench.products = torch.bfloat16
    bench._predictions.clear()
    rounded = {part: bench.evaluate(part, kl=True) for part in ("selection", "sealed")}
    assert rounded["sealed"].nll == plain["sealed"].nll
    assert rounded["sealed"].kl == plain["sealed"].kl
    assert rounded["selection"].nll != plain["selection"].nll
    assert rounded["selection"].nll == pytest.approx(plain["selection"].nll, abs=0.02)
    # The dense model's predictions are rounded alike, so that it is as near to itself as before.
    assert max(rounded["selection"].kl) == pytest.approx(0, abs=1e-6)


def test_fresh_windows_are_none_of_the_draw_however_much_is_read(
    place: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(0)
    texts = ("".join(rng.choices("abcdefghij ", k=3000)) for _ in range(20))
    rows = tmp_path / "long.jsonl"
    rows.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    # So the number of windows decides how many documents are read.
    monkeypatch.setattr(windows, "READ_CHARACTERS", 1)
    sizes = {"calibration_windows": 8, "selection_windows": 2, "sealed_windows": 2}
    with Bench.open(place[0], corpus=rows, seqlen=32, **sizes) as bench:
        for draw in (0, 1):
            fresh = bench.fresh_windows(8, draw)
            assert fresh is not None and len(fresh) == 8
            both = torch.cat([bench.drawn_windows(draw), fresh]).tolist()
            assert len({tuple(row) for row in both}) == 16


def test_a_pattern_is_a_budget(bench: Bench) -> None:
    with bench.pruned("wanda", Budget(pattern="2:4")):
        layer = bench.layers[0].read()
        assert (layer.reshape(layer.shape[0], -1, 4) == 0).sum(dim=2).eq(2).all()
    assert bench.measure("wanda", Budget(pattern="2:4")).sparsity == 0.5


def test_designed_code_comes_in_by_a_scorer(bench: Bench) -> None:
    with pytest.raises(CandidateRejectedError, match="no_sandbox"):
        bench.measure(PYTHON, 0.5)
    refused = bench.validate(PYTHON, 0.5)
    assert (refused.ok, refused.code) == (False, "no_sandbox")
    bench.scorer = given = GivenScorer(wanda)
    found = bench.measure(PYTHON, 0.5)
    assert sorted(given.asked) == sorted(layer.name for layer in bench.layers)
    assert found.mask_digest == bench.measure("wanda", 0.5).mask_digest
    given.refuses = "timeout"
    assert bench.validate(PYTHON, 0.5).code == "timeout"
    bench.close()
    assert given.closed


def test_faults_of_scores_are_verdicts_of_validation(bench: Bench) -> None:
    bench.scorer = GivenScorer(lambda layer, _: torch.full(layer.shape, math.nan))
    found = bench.validate(PYTHON, 0.5)
    assert not found.ok and found.code == "invalid" and "NaN" in found.detail
    bench.scorer = GivenScorer(lambda layer, _: layer.read()[:1])
    assert "one number per weight" in bench.validate(PYTHON, 0.5).detail


def test_a_formula_reads_only_what_is_offered(bench: Bench) -> None:
    formula = Recipe(Candidate("expression", "abs(W) * hessian_diag"))
    refused = bench.validate(formula, 0.5)
    assert (refused.code, refused.ok) == ("missing_statistic", False)
    assert "hessian_diag was not collected" in refused.detail
    assert bench.validate(Recipe(Candidate("expression", "abs(W) * x_norm")), 0.5).ok
    bench.scorer = HostScorer(["hessian_diag"])
    own = Recipe(Candidate("expression", "sq(W) * hessian_diag"), "matrix")
    assert bench.measure(own, 0.5).mask_digest == bench.measure("sparsegpt+none", 0.5).mask_digest


def test_statistics_are_those_of_the_dense_model(bench: Bench, place: tuple[Path, Path]) -> None:
    name = bench.layers[-1].name
    sizes = {"calibration_windows": 2, "selection_windows": 3}
    with Bench.open(place[0], corpus=place[1], seqlen=32, **sizes) as other:
        wanted = other.calibrated(("x_norm",)).of(name)["x_norm"]
    with bench.dense:
        for layer in bench.layers:
            layer.write(0.1 * layer.read())
        found = bench.calibrated(("x_norm",)).of(name)["x_norm"]
    assert torch.equal(found, wanted)


def test_the_distance_leaves_the_weights_pruned(bench: Bench) -> None:
    with bench.pruned("wanda", 0.5):
        before = weights(bench)
        found = bench.evaluate("selection", slice(1, 3), kl=True)
        assert same(before, weights(bench))
        # The same passes as without, and as a measurement of the distance alone.
        assert found.nll == bench.evaluate("selection", slice(1, 3)).nll
        apart = kl_to_dense(bench.loaded.model, bench.predictions("selection"), known=1)
    assert found.kl == pytest.approx(apart, rel=1e-6) and min(found.kl) > 0
    assert len(found.kl) == 2 and bench.evaluate("selection", slice(2)).kl == ()
    assert len(bench.measure(None, kl=True, windows=slice(2)).kl) == 2
    assert max(bench.evaluate("selection", kl=True).kl) < 1e-5


def test_another_repair_of_known_masks_scores_nothing(bench: Bench) -> None:
    bench.scorer = given = GivenScorer(wanda)
    plain = bench.measure(PYTHON, 0.5)
    count = len(given.asked)
    repaired = bench.measure(Recipe(PYTHON.metric, repair="mrp"), 0.5)
    assert len(given.asked) == count and repaired.mask_digest == plain.mask_digest
    bench.measure(PYTHON, 0.5, memory=MaskMemory())
    assert len(given.asked) == 2 * count
    bench.measure(PYTHON, 0.4)
    bench.measure(PYTHON, 0.5, draw=1)
    assert len(given.asked) == 4 * count


def test_notes_and_seconds_of_the_masks_belong_to_what_is_repaired(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = bench.prune_by

    def noted(*words: Any) -> PruneOutcome:
        return replace(scored(*words), notes=("scored with a note",), seconds=5.0)

    monkeypatch.setattr(bench, "prune_by", noted)
    found = []
    for recipe in ("wanda+mrp", "wanda+sparsegpt"):
        # The second one finds the masks of the first.
        with bench.pruned(recipe, 0.5) as outcome:
            found.append(outcome)
    assert all(made.notes[0] == "scored with a note" and made.seconds > 5.0 for made in found)


def test_weights_that_follow_from_masks_take_no_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned, scored = list[str](), bench.prune_by

    def noted(metric: Candidate, *words: Any) -> PruneOutcome:
        pruned.append(metric.text)
        return scored(metric, *words)

    monkeypatch.setattr(bench, "prune_by", noted)
    # Room for the bits of three masks; kept weights would take sixteen times as much.
    memory = MaskMemory(3 * bench.prunable // 8)
    for recipe in ("wanda+sequential", "ria+sequential", "wanda+sequential"):
        bench.measure(recipe, 0.5, memory=memory)
    assert pruned == ["wanda", "ria"]


def test_statistics_that_changed_in_memory_are_found_out(bench: Bench) -> None:
    norms = bench.calibrated(("x_norm",)).of(bench.layers[0].name)["x_norm"]
    bench.statistics_of(0).verify()
    norms.copy_(norms.flip(0) ** 3)
    with pytest.raises(DamagedStatisticsError, match="test this machine's memory"):
        bench.statistics_of(0).verify()


def test_draws_are_of_one_size_and_differ(bench: Bench) -> None:
    first, second = bench.drawn_windows(0), bench.drawn_windows(1)
    assert first.shape == second.shape and not torch.equal(first, second)
    assert {"calibration", "calibration 1"} <= bench.windows.keys()


def test_a_part_that_is_too_short_is_refused(bench: Bench) -> None:
    bench.text.counts |= {"selection": 10_000, "sealed": 10_000}
    lower = r"selection part .* 10000 are asked for; lower selection_windows"
    with pytest.raises(UsageError, match=lower):
        bench.part("selection")
    assert 50 < len(bench.part("sealed")) < 10_000


def test_no_figure_is_measured_on_text_of_the_model(place: tuple[Path, Path]) -> None:
    with (
        Bench.open(place[0], corpus="self-generated") as bench,
        pytest.raises(UsageError, match="written by the model itself"),
    ):
        bench.part("selection")
