"""Searches under other conditions: other sparsities, a repaired reference, a list as context."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from autoprune.search import Search, SearchBudget
from autoprune.search.steps import Done, Failed, Measure, Outcome, Step
from tests.support.synthetic import Synthetic, drive, make_spec


@dataclass
class FailsElsewhere(Synthetic):
    """Cannot measure one recipe at other sparsities: the reference, or whichever is the best."""

    reference: bool = True

    def answer(self, step: Step) -> Outcome:
        if (
            isinstance(step, Measure)
            and step.role == "spread"
            and step.sparsity == 0.7
            and (step.recipe_id == "wanda") == self.reference
        ):
            self.asked.append(step.step_id)
            return Failed("nan_measurement", "a figure is not finite", 1.0)
        return super().answer(step)


@pytest.mark.parametrize("reference", [True, False])
def test_what_fails_at_another_sparsity_is_not_asked_again(tmp_path: Path, reference: bool) -> None:
    driver = FailsElsewhere(reference=reference)
    with Search.open(tmp_path, make_spec(also_sparsities=(0.5, 0.7))) as search:
        assert drive(search, driver) == Done("candidates")
        assert search.best is not None and search.best.elsewhere == {}
        tried = [step for step in driver.asked if step.endswith(".s700")]
        assert tried and len(tried) == len(set(tried))
        # Without the reference there, nobody else needs to be measured there.
        assert len(tried) == 2 or not reference
        # What cannot be measured there does not win, however good it is here.
        assert reference or f"{search.best.alias}.s700" not in tried


def test_promises_are_compared_also_where_the_reference_is_repaired(tmp_path: Path) -> None:
    driver = Synthetic()
    with Search.open(tmp_path, make_spec(default_repair="sparsegpt")) as search:
        assert drive(search, driver) == Done("candidates")
        measured = [entry for entry in search.entries if entry.status == "measured"]
        assert any(entry.proxied and entry.rung == 1 for entry in measured)
        assert all(entry.change is not None for entry in measured)
        assert driver.asked.count("wanda.rung1") == 1


def test_a_new_search_has_no_correlation_yet(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec()) as search:
        assert search.rung_correlation == (None, 0)


@pytest.mark.parametrize(("arm", "asked"), [("whole", True), ("graph", True), ("list", False)])
def test_only_a_designer_that_sees_lessons_is_asked_for_them(
    tmp_path: Path, arm: str, asked: bool
) -> None:
    driver = Synthetic()
    with Search.open(tmp_path, make_spec(arm=arm, budget=SearchBudget(candidates=40))) as search:
        drive(search, driver)
    assert any(step.endswith(".lesson") for step in driver.asked) == asked
