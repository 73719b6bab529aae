"""Every repair on the best masks and the best with equal budgets are measured, whoever chooses."""

from pathlib import Path

import pytest

from autoprune.design.claims import verdict_of
from autoprune.design.transports import ScriptedDesigner
from autoprune.search import DesignerSpec, Search, SearchBudget, halving, planning, promotion
from autoprune.search.arms import DESIGN_OPERATORS
from autoprune.search.starts import RecipeSpec
from tests.support.synthetic import Synthetic, drive, make_spec, plan_without_entries


@pytest.mark.parametrize("kind", ["scripted", "none"])
def test_a_sweep_measures_every_repair_once_on_the_best_masks_and_credits_nobody(
    tmp_path: Path, kind: str
) -> None:
    repairs = ("none", "mrp", "sparsegpt", "walk:mrp", "ebft:epochs=2")
    designer = DesignerSpec(kind=kind)  # type: ignore[arg-type]
    spec = make_spec(
        budget=SearchBudget(candidates=14),
        repair_choices=repairs,
        designer=designer,
        allocations=("ramp", "sdsa", "formula"),
    )
    driver = Synthetic()
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
        hand_made = {e.recipe.repair for e in search.entries if e.is_baseline and e.recipe}
        swept = [e for e in search.entries if e.operator == "sweep"]
        first = [e for e in search.entries if e.generation == 1 and e.operator != "spare"]
        known = search._loop.state.bandit.known
    missing = [repair for repair in repairs if repair not in hand_made]
    assert len(missing) >= 2
    # A mutation may have been quicker.
    whole = {e.recipe.repair for e in search.entries if e.recipe and 2 in e.results}
    assert whole >= set(missing)
    assert [e.recipe.repair for e in swept if e.recipe] == missing[: len(swept)]
    # Half of the slots, and all windows at once: masks that are known tell nothing of a repair.
    assert sum(e.operator == "sweep" for e in first) == 2
    assert all(e.results.keys() == {2} for e in swept)
    assert not any(step.startswith(f"{e.alias}.rung1") for e in swept for step in driver.asked)
    assert "sweep" not in known and (kind == "none" or len(known) > 2)
    assert kind == "none" or any(e.operator in DESIGN_OPERATORS for e in first)


def test_a_sweep_that_the_time_did_not_suffice_for_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halving.SuccessiveHalving, "_direct", lambda self, entries, left: ({}, 0.0))
    monkeypatch.setattr(promotion, "RANDOM_SHARE", 0.0)
    ramped = RecipeSpec(metric="wanda", allocation="ramp", repair="mrp")
    baselines = (RecipeSpec(metric="wanda"), ramped)
    # The best masks are made by hand, so that few windows know nothing new of them.
    spec = make_spec(
        baselines=baselines, repair_choices=("none", "mrp", "sparsegpt", "ebft:epochs=2")
    )
    driver = Synthetic()
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
        swept = [e for e in search.entries if e.operator == "sweep"]
    assert len(swept) >= 2 and all(e.results.keys() == {1, 2} for e in swept)
    assert all(driver.asked.count(f"{e.alias}.rung2") == 1 for e in swept)


@pytest.mark.parametrize("made_by_hand", [False, True])
def test_the_best_that_the_search_made_is_measured_with_equal_budgets_once(
    tmp_path: Path, *, made_by_hand: bool
) -> None:
    ramped = RecipeSpec(metric="wanda", allocation="ramp", repair="mrp" if made_by_hand else "none")
    repairs = ("none", "mrp")
    spec = make_spec(
        baselines=(RecipeSpec(metric="wanda"), ramped),
        repair_choices=repairs,
        designer=DesignerSpec(kind="none"),
        budget=SearchBudget(candidates=12),
    )
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic())
        swept = [e for e in search.entries if e.operator == "sweep" and e.recipe]
        later = planning.plan_generation(search._loop.state, 50, 4, [], set())
    even = [e for e in swept if e.recipe and e.recipe.allocation == "uniform"]
    # Only what the search itself made best, after the repairs, and measured whole at once.
    assert len(even) == 1 and even[0].generation > 1 and even[0].results.keys() == {2}
    assert even[0].recipe is not None and even[0].recipe.repair.startswith("mrp")
    assert bool([e for e in swept if e.generation == 1]) != made_by_hand
    assert not [plan for plan in later if plan.operator == "sweep"]


@pytest.mark.parametrize(
    ("slots", "repairs", "risen_in"),
    [
        (4, ("none", "mrp"), 1),
        # With two slots a generation the repair on the best masks comes after the answer.
        (2, ("none", "sparsegpt", "mrp"), 2),
        (2, ("none", "sparsegpt", "ebft:epochs=2", "mrp"), 3),
    ],
)
def test_equal_budgets_that_the_designer_wrote_are_measured_whole_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slots: int,
    repairs: tuple[str, ...],
    risen_in: int,
) -> None:
    monkeypatch.setattr(promotion, "RANDOM_SHARE", 0.0)
    # Every slot but those of the sweep asks for a whole recipe.
    plan_without_entries(monkeypatch, "seed")
    expected = ("because: a", "expect: -20 % against wanda+ramp")
    parts = ("metric: abs(W) * x_norm", "group: row", "allocation: uniform", "repair: mrp")
    answer = "\n".join([*expected, *parts, ""])
    driver = Synthetic(ScriptedDesigner(lambda request: answer), wobble=0.0005)
    spec = make_spec(
        baselines=(RecipeSpec(metric="wanda"), RecipeSpec(metric="wanda", allocation="ramp")),
        repair_choices=repairs,
        budget=SearchBudget(candidates=4 * slots),
        slots=slots,
    )
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
        seed = next(e for e in search.entries if e.operator == "seed")
        again = [e for e in search.entries if e.duplicate_of == seed.alias]
        assert seed.generation == 1 and seed.recipe is not None
        # Few windows cannot tell its masks from the reference's.
        assert search.graph.nodes[f"{seed.alias}.r1"].body["change"] == 0.0
        asked = driver.asked
        ended = asked.index(f"g{risen_in + 1}.dense.sentinel")
        begun = asked.index(f"g{risen_in}.dense.sentinel") if risen_in > 1 else 0
        assert begun < asked.index(f"{seed.alias}.rung2") < ended
        assert asked.count(f"{seed.alias}.rung2") == 1
        # Whoever repeated it shares what came out.
        assert again and all(e.results == seed.results for e in again)
        assert any(e.generation < risen_in for e in again) == (risen_in == 3)
        # Masks alone were worse than the ramp's; what counts is what the recipe did. What repeats
        # the best line is no better than that.
        asked_for = [seed, *(e for e in again if e.operator == "seed")]
        assert len(asked_for) > 2
        scores = {e.alias: e.score for e in search.entries}
        for entry in asked_for:
            assert entry.prediction is not None
            better = seed.score < scores[entry.prediction.versus]
            assert verdict_of(search.graph, entry.alias) == ("right" if better else "wrong")
        assert seed.prediction is not None and seed.prediction.versus.startswith("wanda")
        # How few windows rank is not read from what they cannot judge.
        assert seed.direct
        assert search.best is not None and search.best.score < seed.score < 0.0
