"""A recipe that is a scheme, on a bench: its real shapes are measured and the model comes back."""

import copy
import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.bench import scheme_recipe
from autoprune.bench.bench import Bench
from autoprune.bench.scheme_budget import SchemeBudget
from autoprune.bench.scheme_recipe import SmallerOutcome
from autoprune.bench.smaller import Shrinking, shrunken
from autoprune.budget import Budget
from autoprune.candidate import Candidate
from autoprune.errors import AutopruneError, UnsupportedModelError, UsageError
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.models.saved_type import checkpoint_type
from autoprune.models.structure import find_blocks
from autoprune.recipe import Recipe
from autoprune.schemes import depth


def recipe(text: str, repair: str = "none") -> Recipe:
    return Recipe(Candidate.parse(f"scheme:{text}"), repair=repair)


def test_a_scheme_is_measured_in_its_real_shapes(bench: Bench) -> None:
    model = bench.loaded.model
    state = {name: value.clone() for name, value in model.state_dict().items()}
    dense = bench.measure(None)
    found = bench.measure(recipe("depth:criterion=influence"), 0.5, kl=True)
    assert bench.loaded.model is model
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert bench.measure(None).nll == dense.nll != found.nll
    assert len(found.kl) == 3 and min(found.kl) > 0.0 and found.layer_sparsity == {}
    windows = bench.part("selection")
    with bench.pruned(recipe("depth:criterion=influence"), 0.5) as outcome:
        assert isinstance(outcome, SmallerOutcome) and outcome.sparsity == found.sparsity
        assert len(find_blocks(bench.loaded.model)) == 1 < len(find_blocks(model))
        assert outcome.mask_digest == found.mask_digest
        assert evaluate_windows(bench.loaded.model, windows).nll == found.nll
    # The same blocks by another criterion are one candidate; another patch is another.
    by_name = {}
    for text in ("depth:criterion=greedy", "depth:patch=none", "width", "width:fit=false"):
        by_name[text] = bench.measure(recipe(text), 0.5)
    assert len({m.mask_digest for m in by_name.values()}) == 4
    taught = bench.measure(recipe("depth:criterion=influence", "recover:steps=2,batch=1"), 0.5)
    tuned = bench.measure(recipe("depth:criterion=influence", "ebft:epochs=1"), 0.5)
    assert taught.mask_digest == found.mask_digest == tuned.mask_digest
    assert len({found.nll, taught.nll, tuned.nll}) == 3
    for text, code in (
        ("depth:protect=9-9", "invalid"),
        ("experts", "invalid"),
        ("depth", "ok"),
    ):
        assert bench.validate(recipe(text), 0.5).code == code
    assert bench.validate(recipe("depth"), 0.01).code == "invalid"
    assert "(depth:protect=9-9," in bench.validate(recipe("depth:protect=9-9"), 0.5).detail
    alone = Shrinking.parse("depth:criterion=influence").apply(model, 0.5, bench.drawn_windows())
    assert alone.plan.share == found.sparsity
    with pytest.raises(UsageError, match="zeros bring neither"):
        bench.measure(Recipe.parse("magnitude"), Budget(bytes=0.2))


def test_what_is_dense_stays_so_while_a_smaller_model_is_held(
    place: tuple[Path, Path], tmp_path: Path
) -> None:
    def opened(cache: str) -> AbstractContextManager[Bench]:
        sizes = {"calibration_windows": 2, "selection_windows": 3, "sealed_windows": 2}
        return Bench.open(place[0], corpus=place[1], seqlen=32, cache=tmp_path / cache, **sizes)

    how = Shrinking.parse("depth:criterion=influence")
    with opened("one") as bench:
        wanted = bench.measure(recipe(how.text), 0.5, kl=True)
        names, norms = [x.name for x in bench.layers], bench.calibrated(("x_norm",))
    with opened("other") as bench:
        whole = bench.loaded.model
        # Nothing of the dense model has been asked for before.
        with shrunken(bench, how, 0.5):
            assert bench.whole_model is whole is not bench.loaded.model
            found = bench.evaluate("selection", kl=True)
            assert (found.nll, found.kl) == (wanted.nll, wanted.kl) and min(found.kl) > 0.0
            assert [x.name for x in bench.layers] == names
            for name in names:
                value = bench.calibrated(("x_norm",)).of(name)["x_norm"]
                assert torch.equal(value, norms.of(name)["x_norm"])
            assert bench.evaluate("selection").nll == found.nll
        assert bench.loaded.model is whole
        assert max(bench.evaluate("selection", kl=True).kl) < 1e-5


def test_schemes_of_one_model_and_text_share_the_scan_of_its_blocks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned: list[int] = []
    real = depth.losses_without

    def slow(model: PreTrainedModel, windows: Tensor, *rest: Any, **more: Any) -> dict[int, float]:
        scanned.append(len(windows))
        time.sleep(0.5)
        return real(model, windows, *rest, **more)

    monkeypatch.setattr(depth, "losses_without", slow)
    alone = Shrinking.parse("depth").apply(
        copy.deepcopy(bench.loaded.model), 0.5, bench.drawn_windows()
    )
    assert len(scanned) == 1
    first = bench.measure(recipe("depth"), 0.5)
    others = ("depth:patch=none", "depth:criterion=search", "depth+width")
    for text in others:
        with bench.pruned(recipe(text), 0.5) as outcome:
            # What was spared counts, or a method would look cheaper for its place in a table.
            assert outcome.seconds >= 0.5, text
    assert len(scanned) == 2
    with bench.pruned(recipe("depth"), 0.5) as again:
        assert isinstance(again, SmallerOutcome)
        assert again.shrunk.plan.facts == alone.plan.facts and len(scanned) == 2
        assert again.mask_digest == first.mask_digest
    bench.measure(recipe("depth"), 0.5, draw=1)
    assert len(scanned) == 3
    # Outside of a bench nothing is remembered.
    Shrinking.parse("depth").apply(copy.deepcopy(bench.loaded.model), 0.5, bench.drawn_windows())
    assert len(scanned) == 4


def test_a_store_that_fails_is_no_fault_of_the_scheme(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise AutopruneError("no space left on the disk")

    monkeypatch.setattr(bench.store, "file", full)
    calls: tuple[Callable[[], object], ...] = (
        lambda: bench.measure(recipe("depth:criterion=influence"), 0.5, draw=1),
        lambda: bench.measure(recipe("depth:criterion=random", "recover:steps=1"), 0.5, draw=2),
        lambda: bench.validate(recipe("skip"), 0.5),
    )
    for call in calls:
        with pytest.raises(AutopruneError, match="no space left") as caught:
            call()
        assert not isinstance(caught.value, UsageError)


@pytest.mark.parametrize(
    ("fault", "seen"),
    [(AutopruneError("no space left"), AutopruneError), (UnsupportedModelError("no"), UsageError)],
)
def test_only_a_model_that_is_not_supported_is_a_verdict_on_the_recipe(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: AutopruneError, seen: type[Exception]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(depth.Depth, "plan", fails)
    with pytest.raises(AutopruneError) as caught:
        bench.measure(recipe("depth:criterion=random"), 0.5)
    assert type(caught.value) is seen
    if seen is UsageError:
        assert bench.validate(recipe("depth:criterion=random"), 0.5).code == "invalid"
    else:
        with pytest.raises(AutopruneError, match="no space left"):
            bench.validate(recipe("depth:criterion=random"), 0.5)


def test_a_budget_in_bytes_or_speed_is_a_share_found_from_shapes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bench.loaded.model
    text = "width:score=magnitude,fit=false"
    asked = SchemeBudget(Budget(bytes=0.1), checkpoint_type(bench.loaded.source))
    found = bench.validate(recipe(text), asked.budget)
    alone = Shrinking.parse(text).apply(copy.deepcopy(model), asked)
    with bench.pruned(recipe(text), found.budget["share"]) as outcome:
        assert isinstance(outcome, SmallerOutcome)
        assert outcome.shrunk.plan.to_json() == alone.plan.to_json()
        assert asked.bytes_of(bench.loaded.model) == alone.budget["bytes"]
    with bench.pruned(recipe(text), asked.budget) as outcome:
        assert isinstance(outcome, SmallerOutcome)
        assert outcome.shrunk.plan.to_json() == alone.plan.to_json()
    assert bench.validate(recipe(text), 0.5).budget == {}
    refused = bench.validate(recipe("depth:criterion=taylor"), Budget(bytes=0.99))
    assert refused.code == "invalid" and "'depth:criterion=taylor' cannot take" in refused.detail
    whole = model.num_parameters()

    def speed(smaller: PreTrainedModel) -> float:
        return 100.0 * whole / smaller.num_parameters()

    timed = functools.partial(SchemeBudget, speed=speed)
    monkeypatch.setattr(scheme_recipe, "SchemeBudget", timed)
    quick = bench.validate(recipe(text), Budget(faster=1.1)).budget
    assert quick["faster"] >= 1.1 and quick["tokens_per_second_dense"] == 100.0
    with bench.pruned(recipe(text), quick["share"]):
        assert speed(bench.loaded.model) / 100.0 == quick["faster"]
    assert bench.loaded.model is model
