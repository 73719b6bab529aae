"""A rung between few windows and all of them stops recipes that are clearly worse."""

import math
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from autoprune.search import DesignerSpec, Search, SearchBudget, SearchSpec, halving, promotion
from autoprune.search.starts import RecipeSpec
from autoprune.search.steps import Done, Failed, Measure, Measurement
from tests.support.synthetic import Synthetic, drive, make_spec


def long_spec(**changes: object) -> SearchSpec:
    """Few repairs, many windows; without a bandit nothing is decided by seconds."""
    usual = {
        "designer": DesignerSpec(kind="genetic"),
        "budget": SearchBudget(candidates=24),
        "rung_windows": 2,
        "selection_windows": 20,
        "repair_choices": ("none",),
        "promote": 0.5,
        "slots": 8,
    }
    return make_spec(**{**usual, **changes})


def steps_of(
    folder: Path, spec: SearchSpec, driver: Synthetic | None = None
) -> tuple[Search, list[Measure]]:
    """A search at its end, and what it had measured of candidates."""
    search, driver, steps = Search.open(folder, spec), driver or Synthetic(), []
    while not isinstance(step := search.next_step(), Done):
        if isinstance(step, Measure) and step.role == "candidate":
            steps.append(step)
        search.record(step, driver.answer(step))
    return search, steps


@pytest.mark.parametrize(
    ("few", "whole", "middle"),
    [(2, 20, 6), (4, 20, 9), (2, 8, 4), (4, 16, 8), (4, 10, None), (3, 6, None), (5, 5, None)],
)
def test_the_middle_rung_saves_half_of_the_windows_or_is_left_out(
    few: int, whole: int, middle: int | None
) -> None:
    assert halving.middle_windows(few, whole) == middle


def test_no_window_is_measured_twice_and_losers_stop_early(tmp_path: Path) -> None:
    search, steps = steps_of(tmp_path, long_spec(fitness="both"))
    with search:
        middle = {s.recipe_id: s for s in steps if s.step_id.endswith(".lap")}
        wholes = {s.recipe_id: s for s in steps if s.step_id.endswith(".rung2")}
        # Twice as many few windows where they ranked badly.
        assert (2, 6) in {(s.known, s.windows) for s in middle.values()} <= {(2, 6), (4, 9)}
        assert all((s.known, s.windows) == (middle[a].windows, 20) for a, s in wholes.items())
        assert wholes.keys() < middle.keys()
        entries = {e.alias: e for e in search.entries}
        driver, best = Synthetic(), search.best
        assert best is not None
        for alias in middle:
            entry = entries[alias]
            count = 20 if alias in wholes else middle[alias].windows
            # What was measured piece by piece is what one piece would have given.
            assert entry.recipe is not None and entry.measurement is not None
            once = driver.measure(entry.recipe, count, 0.6, "selection")
            assert isinstance(once, Measurement)
            whole = replace(once, kl=tuple(value - 2.0 for value in once.nll))
            found = entry.measurement
            assert (found.nll, found.kl, found.tokens) == (whole.nll, whole.kl, whole.tokens)
            assert math.isclose(found.perplexity, whole.perplexity, rel_tol=1e-12)
            pieces = 3.0 if alias in wholes else 2.0
            assert found.seconds == pieces and entry.whole_seconds == pieces - 1.0
            assert entry.rung == (2 if alias in wholes else 1)
            assert search.graph.nodes[f"{alias}.lap"].body["windows"] == middle[alias].windows
        for alias in middle.keys() - wholes.keys():
            # Stopped by someone of its generation or before, beyond doubt.
            rivals = [e for e in entries.values() if e.generation <= entries[alias].generation]
            differences = [search._loop.archive.compare(entries[alias], e) for e in rivals]
            assert any(found is not None and found.worse for found in differences)


def test_no_recipe_is_measured_twice_on_the_middle_rung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, steps = steps_of(tmp_path, long_spec())
    with search:
        rungs = search._loop.halving
        middle = {s.recipe_id: s.windows for s in steps if s.step_id.endswith(".lap")}
        entries = {e.alias: e for e in search.entries}
        stopped = [
            entry for name, entry in entries.items()
            if name in middle and entry.whole is not None and len(entry.whole.nll) == middle[name]
        ]  # fmt: skip
        assert stopped
        # As if the first rung had grown since: it is longer than the one that stopped them.
        monkeypatch.setattr(halving, "middle_windows", lambda few, whole: max(middle.values()) + 1)
        with pytest.raises(StopIteration) as ended:
            next(rungs._middle_rung(stopped))
        assert ended.value.value == stopped


def test_the_middle_rung_changes_who_is_measured_and_not_who_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, windows = [], []
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr(halving, "middle_windows", lambda few, whole: None)
        # One generation, so that both compare the same recipes.
        spec = long_spec(budget=SearchBudget(candidates=24), slots=24)
        search, steps = steps_of(tmp_path / name, spec)
        with search:
            assert search.best is not None and search.best.recipe is not None
            chosen.append(search.best.recipe)
            windows.append(sum(s.windows - s.known for s in steps))
    assert chosen[0] == chosen[1]
    assert windows[0] < 0.9 * windows[1]


@pytest.mark.parametrize("ahead", [True, False])
def test_a_recipe_behind_the_reference_is_promoted_only_while_nothing_is_ahead_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    monkeypatch.setattr(promotion, "RANDOM_SHARE", 0.0)
    sdsa = RecipeSpec(metric="wanda", allocation="sdsa")
    spec = long_spec(
        budget=SearchBudget(candidates=8),
        selection_windows=5,
        baselines=(RecipeSpec(metric="wanda"), *((sdsa,) if ahead else ())),
        promote=1.0,
    )
    # Few windows cannot tell recipes apart beyond doubt.
    search, steps = steps_of(tmp_path, spec, Synthetic(wobble=0.05))
    with search:
        promoted = {s.recipe_id for s in steps if s.rung == 2}
        few = {s.recipe_id: search.graph.nodes[f"{s.recipe_id}.r1"] for s in steps if s.rung == 1}
        behind = {alias for alias, result in few.items() if result.body["change"] > 0.0}
        assert behind and promoted
        assert bool(behind & promoted) != ahead


def test_few_windows_are_compared_with_more_for_stopped_recipes_too(tmp_path: Path) -> None:
    search, steps = steps_of(tmp_path, long_spec())
    with search:
        middle = {s.recipe_id for s in steps if s.step_id.endswith(".lap")}
        correlation, pairs = search.rung_correlation
        assert pairs == len(middle) and correlation is not None
        few = {s.recipe_id: s.windows for s in steps if s.step_id.endswith(".rung1")}
        assert all(e.few == few[e.alias] for e in search.entries if e.alias in middle)


def test_a_repaired_recipe_goes_to_all_windows_at_once(tmp_path: Path) -> None:
    search, steps = steps_of(
        tmp_path,
        long_spec(
            repair_choices=("none", "sparsegpt"), promote=1.0, budget=SearchBudget(candidates=48)
        ),
    )
    with search:
        dear = [s for s in steps if s.recipe is not None and s.recipe.repair != "none"]
        assert dear and {(s.known, s.windows) for s in dear} == {(0, 20)}
        assert any(s.step_id.endswith(".lap") for s in steps)


def test_a_failed_measurement_is_no_evaluation(tmp_path: Path) -> None:
    class Failing(Synthetic):
        def answer(self, step):  # type: ignore[no-untyped-def]
            found = super().answer(step)
            fails = isinstance(step, Measure) and step.role == "candidate" and next(number) % 3 == 0
            return Failed("exception", "it broke") if fails else found

    number = count()
    spec = long_spec(budget=SearchBudget(evaluations=7), slots=3)
    with Search.open(tmp_path, spec) as search:
        assert drive(search, Failing()) == Done("evaluations")
        failed = [e for e in search.entries if e.code == "exception"]
        measured = [e for e in search.entries if not e.is_baseline and 2 in e.results]
        own = [e for e in measured if e.duplicate_of is None]
        assert failed and len(own) == search.spent.evaluations == 7
    with Search.open(tmp_path) as again:
        assert again.spent == search.spent and again.graph.digest == search.graph.digest


def test_a_recipe_that_fails_on_the_middle_rung_is_rejected(tmp_path: Path) -> None:
    class Failing(Synthetic):
        def answer(self, step):  # type: ignore[no-untyped-def]
            found = super().answer(step)
            if step.step_id.endswith(".lap"):
                return replace(found, nll=(math.nan,) * len(found.nll))
            return found

    driver = Failing()
    with Search.open(tmp_path, long_spec()) as search:
        assert drive(search, driver) == Done("candidates")
        middle = {step.partition(".")[0] for step in driver.asked if step.endswith(".lap")}
        gone = {e.alias for e in search.entries if e.code == "nan_measurement"}
        assert middle and middle == gone
        assert not middle & {s.partition(".")[0] for s in driver.asked if s.endswith(".rung2")}
