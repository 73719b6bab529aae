"""Sentinels are measured again; one that gives other figures stops the search."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autoprune.candidate import Candidate
from autoprune.recipe import Recipe
from autoprune.search import DesignerSpec, Search, SearchBudget
from autoprune.search.costs import ExactPass
from autoprune.search.sentinels import own_fault
from autoprune.search.steps import Done, Failed, Measure, Measurement, Outcome, Step
from tests.support.synthetic import REPAIRS, Synthetic, drive, make_spec


def test_dense_and_controls_are_measured_again_before_anything_is_sealed(tmp_path: Path) -> None:
    driver = Synthetic()
    with Search.open(tmp_path, make_spec(designer=DesignerSpec(kind="genetic"))) as search:
        drive(search, driver)
        checks = {s.name: s.checks for s in search.sentinels}
        assert search.best is not None and search.best.recipe is not None
        # What won has a repair, and is pruned by it once more.
        assert search.best.recipe.repair != "none"
        won = {search.best.alias: 1}
        assert checks == {"dense": 4, "wanda": 2, "magnitude": 1, "random": 1} | won
        assert {s.largest for s in search.sentinels} == {0.0} and search.drift == ""
    again = [step for step in driver.asked if step.endswith(".sentinel")]
    # Of the baselines the first figures are known.
    assert again[:2] == ["first.dense.sentinel", "first.random.sentinel"]
    ends = ["end.dense.sentinel", "end.wanda.sentinel", f"repeat.{search.best.alias}.sentinel"]
    assert again[-3:] == driver.asked[-4:-1] == ends


def test_where_products_are_rounded_sentinels_have_first_figures_of_their_own(
    tmp_path: Path,
) -> None:
    driver = Synthetic()
    spec = make_spec(designer=DesignerSpec(kind="genetic"), precision="bfloat16")
    with Search.open(tmp_path, spec) as search:
        taken: dict[bool, list[float]] = {True: [], False: []}
        while not isinstance(step := search.next_step(), Done):
            outcome = driver.answer(step)
            if isinstance(step, Measure) and step.role == "sentinel":
                taken[step.recipe is None].append(outcome.seconds)
            search.record(step, outcome)
        assert search.drift == "" and search.looks == 1
        exact = search._loop.state.exact
    first = [step for step in driver.asked if step.startswith("first.")]
    assert first == [f"first.{name}.sentinel" for name in ("dense", "wanda", "magnitude", "random")]
    # Sealed text, which is never rounded, is priced by what these passes took.
    dense, masked = taken[True], taken[False]
    assert exact == ExactPass.of(dense, masked) and len(dense) > 1 and len(masked) > 3


@pytest.mark.parametrize("name", ["dense", "magnitude"])
def test_drift_of_a_sentinel_stops_the_search(tmp_path: Path, name: str) -> None:
    with Search.open(tmp_path, make_spec(designer=DesignerSpec(kind="genetic"))) as search:
        driver = Synthetic()
        while not isinstance(step := search.next_step(), Done):
            outcome = driver.answer(step)
            if step.step_id in ("g3.dense.sentinel", f"g3.{name}.sentinel"):
                assert isinstance(outcome, Measurement)
                moved = 0.01 if step.step_id == f"g3.{name}.sentinel" else 1e-5
                outcome = replace(outcome, nll=tuple(n + moved for n in outcome.nll))
            search.record(step, outcome)
        assert step == Done("drift")
        assert search.looks == 0
        assert search.drift == f"{name} differs by 0.01 nats per token"
        assert search.drift in search.graph.nodes["drift"].body["text"]


def repeated(
    folder: Path, change: Callable[[Measurement], Outcome], repairs: tuple[str, ...]
) -> tuple[Done, Search, Measure]:
    """A search whose winner gives something else when it is pruned once more."""
    spec = make_spec(designer=DesignerSpec(kind="genetic"), repair_choices=repairs)
    with Search.open(folder, spec) as search:
        end, (only,) = with_repeats(search, [change])
        return end, search, only


def with_repeats(
    search: Search, changes: list[Callable[[Measurement], Outcome]]
) -> tuple[Done, list[Measure]]:
    """Drive a search whose first repetitions give something else; return all of these steps."""
    driver, again = Synthetic(), []
    while not isinstance(step := search.next_step(), Done):
        outcome = driver.answer(step)
        if isinstance(step, Measure) and step.role == "repeat":
            assert isinstance(outcome, Measurement)
            again.append(step)
            if len(again) <= len(changes):
                outcome = changes[len(again) - 1](outcome)
        search.record(step, outcome)
    return step, again


def test_a_winner_that_gives_other_masks_is_rejected_and_the_next_takes_its_place(
    tmp_path: Path,
) -> None:
    spec = make_spec(designer=DesignerSpec(kind="genetic"))
    with Search.open(tmp_path, spec) as search:
        _, again = with_repeats(search, [lambda found: replace(found, mask_digest="other")])
        first, second = (step.recipe_id for step in again)
        assert search.looks == 1 and search.drift == "" and search.best is not None
        assert search.best.alias == second and search.best.sealed is not None
        fault = search.archive[first]
        assert (fault.status, fault.code, fault.sealed) == ("rejected", "nondeterministic", None)
        assert first not in [s.name for s in search.sentinels]
        left = [entry.alias for entry in search.entries if entry.status == "measured"]
    with Search.open(tmp_path, spec) as search:
        assert search.best is not None and search.best.alias == second
        assert [entry.alias for entry in search.entries if entry.status == "measured"] == left


@pytest.mark.parametrize(("kind", "own"), [("program", True), ("python", True), ("builtin", False)])
def test_other_figures_are_the_fault_of_designed_code_alone(kind: str, own: bool) -> None:
    again = Measurement((1.0,), 10, 2.7, mask_digest="m")
    won = Measurement((1.01, 9.0), 20, 2.7, mask_digest="m")
    recipe = Recipe(Candidate(kind, "wanda"))  # type: ignore
    assert own_fault(recipe, won, again, 0.02) == ""
    shown = "differs by 0.01 nats per token" if own else ""
    assert own_fault(recipe, won, again, 0.001) == shown


def moved(by: float) -> Callable[[Measurement], Outcome]:
    return lambda found: replace(found, nll=tuple(value + by for value in found.nll), seconds=7.0)


def test_a_winner_that_gives_other_figures_is_not_sealed(tmp_path: Path) -> None:
    usual = ("none", "sparsegpt", "mrp")
    end, search, step = repeated(tmp_path / "drifts", moved(0.01), usual)
    best = search.best
    assert best is not None and (step.recipe_id, step.recipe) == (best.alias, best.recipe)
    assert end == Done("drift") and search.looks == 0
    assert search.drift == f"{best.alias} differs by 0.01 nats per token"
    # It is charged like everything else.
    sound, other, _ = repeated(tmp_path / "sound", moved(0.0), usual)
    assert sound != Done("drift") and other.looks == 1
    assert search.spent.seconds == pytest.approx(other.spent.seconds - 2.0)

    def broken(found: Measurement) -> Outcome:
        return Failed("statistics", "statistics in memory have another digest")

    end, search, _ = repeated(tmp_path / "broken", broken, usual)
    assert end == Done("drift") and search.best is not None
    shown = "could not be measured again (statistics: statistics in memory have another digest)"
    assert search.drift == f"{search.best.alias} {shown}"


@pytest.mark.parametrize(("by", "stops"), [(0.02, False), (0.04, True)])
def test_a_tuned_winner_may_differ_as_processors_do(
    tmp_path: Path, by: float, stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REPAIRS, "ebft", (0.9, 9.0))
    monkeypatch.setitem(REPAIRS, "sparsegpt", (0.0, 4.0))
    end, search, step = repeated(tmp_path, moved(by), ("none", "ebft:epochs=2"))
    assert step.recipe is not None and step.recipe.repair.startswith("ebft")
    assert (end == Done("drift")) is stops and search.looks == (not stops)


def test_no_sentinels_no_repetition(tmp_path: Path) -> None:
    driver = Synthetic()
    spec = make_spec(designer=DesignerSpec(kind="genetic"), sentinel_every=0)
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
    assert not [step for step in driver.asked if step.endswith(".sentinel")]


def test_a_machine_on_which_a_dense_pass_is_slow_makes_it_in_turn(tmp_path: Path) -> None:
    class Slow(Synthetic):
        def answer(self, step: Step) -> Outcome:
            return replace(super().answer(step), seconds=3.0)

    driver, spec = Slow(), make_spec(budget=SearchBudget(candidates=4))
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
    assert [s for s in driver.asked if s.startswith("end.")] == ["end.dense.sentinel"]
    assert driver.asked[-2].startswith("repeat.") and driver.asked[-1] == "sealed"
