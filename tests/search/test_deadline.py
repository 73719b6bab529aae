"""A limit in time is kept: what cannot end in time does not start, and what overruns is stopped.

Nothing here reads a clock: a step takes the seconds that the test says it takes.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from autoprune.design.chat import Reply
from autoprune.recipe import Recipe
from autoprune.search import DesignerSpec, Search, SearchBudget
from autoprune.search.deadline import MARGIN, UNFINISHED
from autoprune.search.steps import (
    Done,
    Failed,
    Measure,
    Measurement,
    Outcome,
    Seal,
    Sealed,
    Step,
    Validate,
)
from tests.support.synthetic import Synthetic, make_spec


@dataclass
class Slow(Synthetic):
    """Repairs and answers take far longer than anybody assumes.

    Args:
        repair: Seconds that a repair really takes.
        answering: Seconds of an answer.
        unit: Work stops between units of so many seconds, as it does between blocks.
    """

    repair: float = 0.0
    answering: float = 4.0
    unit: float = 1.0

    def within(self, step: Step, seconds: float) -> Outcome:
        """The outcome of a step that is stopped after ``seconds``."""
        if seconds <= 0.0 and not isinstance(step, Seal):
            return Failed(UNFINISHED, "not started")
        found = self.answer(step)
        if isinstance(found, Reply):
            return replace(found, seconds=self.answering)
        if isinstance(step, Measure) and step.recipe is not None:
            took = self._seconds(step.recipe, step.windows - step.known)
            if took > seconds:
                return Failed(UNFINISHED, "stopped", seconds + self.unit)
            assert isinstance(found, Measurement)
            return replace(found, seconds=took)
        if isinstance(step, Seal):
            assert isinstance(found, Sealed)
            return replace(found, seconds=6.0 * len(step.recipes))
        return found

    def _seconds(self, recipe: Recipe, windows: int) -> float:
        repaired = recipe.repair != "none"
        return 1.5 * windows + (self.repair if repaired else 0.0)


def run(folder: Path, driver: Slow, seconds: float, **settings: object) -> Search:
    """A search to its end under a limit of so many seconds."""
    spec = make_spec(budget=SearchBudget(candidates=200, seconds=seconds), **settings)
    search = Search.open(folder, spec)
    while not isinstance(step := search.next_step(), Done):
        search.record(step, driver.within(step, search.seconds_for(step)))
    return search


@pytest.mark.parametrize("repair", [0.0, 40.0, 400.0])
@pytest.mark.parametrize("draws", [1, 3])
def test_six_minutes_end_within_six_and_a_half(tmp_path: Path, repair: float, draws: int) -> None:
    driver = Slow(repair=repair)
    with run(tmp_path, driver, 360.0, draws=draws) as search:
        assert search.finished == "seconds"
        assert 60.0 < search.spent.seconds <= 390.0
        assert search.generation > 0 and search.looks == 1
        best = search.best
        assert best is not None and best.sealed is not None
        assert search.archive.reference_entry().sealed is not None  # type: ignore[union-attr]


def test_a_stopped_measurement_keeps_what_was_known_of_its_recipe(tmp_path: Path) -> None:
    with run(tmp_path, Slow(repair=400.0), 360.0) as search:
        stopped = [e for e in search.entries if e.detail.startswith(f"{UNFINISHED}: stopped")]
        assert stopped
        for entry in stopped:
            # A judgement of a recipe would teach the designer what is not so.
            assert entry.status != "rejected" and not entry.code and 2 not in entry.results
            assert entry.seconds > 0.0
            node = search.graph.nodes[f"{entry.alias}.unfinished"]
            assert node.body == {"subject": entry.alias, "unfinished": "stopped"}


def test_no_time_for_other_sparsities_counts_against_nobody(tmp_path: Path) -> None:
    class Hasty(Slow):
        def within(self, step: Step, seconds: float) -> Outcome:
            if isinstance(step, Measure) and step.rung == 3 and step.recipe_id != "wanda":
                return Failed(UNFINISHED, "stopped", 1.0)
            return super().within(step, seconds)

    with run(tmp_path, Hasty(), 360.0, also_sparsities=(0.5,)) as search:
        best = search.best
        assert best is not None and not best.fails_elsewhere and not best.elsewhere
        assert not any(entry.fails_elsewhere for entry in search.entries)


def test_a_candidate_that_no_container_tried_in_time_is_not_rejected(tmp_path: Path) -> None:
    class Late(Slow):
        def within(self, step: Step, seconds: float) -> Outcome:
            if isinstance(step, Validate) and step.generation:
                return Failed(UNFINISHED, "not started")
            return super().within(step, seconds)

    with run(tmp_path, Late(), 220.0) as search:
        late = [e for e in search.entries if e.unfinished and not e.is_baseline]
        assert late and {e.status for e in late} == {"proposed"}
        assert all(f"{e.alias}.unfinished" in search.graph.nodes for e in late)
    # The hand-made starts are tried whatever the time: without them nothing is compared.
    with Search.open(
        tmp_path / "short", make_spec(budget=SearchBudget(candidates=4, seconds=1e-6))
    ) as search:
        assert search.seconds_for(search.next_step()) == float("inf")


def test_a_killed_search_with_a_limit_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    driver = Slow(repair=40.0)
    with run(tmp_path / "whole", driver, 200.0) as whole:
        digest, spent = whole.graph.digest, whole.spent.seconds
    spec = make_spec(budget=SearchBudget(candidates=200, seconds=200.0))
    done = 0
    while True:
        with Search.open(tmp_path / "cut", spec) as search:
            for _ in range(17):
                step = search.next_step()
                if isinstance(step, Done):
                    assert (search.graph.digest, search.spent.seconds) == (digest, spent)
                    assert done > 10
                    return
                search.record(step, driver.within(step, search.seconds_for(step)))
                done += 1


@pytest.mark.parametrize("seconds", [1.0, 60.0, 120.0])
def test_a_short_limit_leaves_out_starts_and_designs_before_it_overruns(
    tmp_path: Path, seconds: float
) -> None:
    driver = Slow(repair=4.0)
    with run(tmp_path, driver, seconds, designer=DesignerSpec(kind="genetic")) as search:
        reference = search.archive.reference_entry()
        assert reference is not None and reference.sealed is not None
        # The reference, its guard against drift and its seal are mandatory whatever the limit.
        mandatory = 40.0
        assert search.spent.seconds <= max(mandatory, (1.0 + MARGIN) * seconds + driver.unit)
        measured = {e.alias for e in search.entries if e.status == "measured"}
        assert (len(measured) == 1) == (seconds == 1.0)
        left_out = [e for e in search.entries if e.is_baseline and e.alias not in measured]
        assert all(e.detail == f"{UNFINISHED}: no time was left for it" for e in left_out)


def test_a_first_generation_takes_as_many_slots_as_fit(tmp_path: Path) -> None:
    sizes = set()
    for seconds in (1.0, 60.0, 220.0):
        with run(tmp_path / str(seconds), Slow(), seconds, slots=6) as search:
            sizes.add(len({e.slot for e in search.entries if e.generation == 1}))
    assert len(sizes) == 3 and {0, 6} < sizes
