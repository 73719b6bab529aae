"""Numbers that masks alone do not judge: strengths under a repair, and the repair's own."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from autoprune.design.parts import allocation_numbers
from autoprune.recipe import Recipe
from autoprune.search import Search, SearchBudget, planning
from autoprune.search.moves import mask_key
from autoprune.search.steps import Failed, Measurement
from autoprune.search.strength import STEP, lowest_of_three
from tests.support.synthetic import Synthetic, drive, make_spec

CHOICES = make_spec().choices
BEST_DAMP, BEST_WIDTH = 0.03, 0.13


class Repaired(Synthetic):
    """Without a repair weak ramps are best; with one, a ramp of 0.13 and a damping of 0.03."""

    def measure(
        self, recipe: Recipe | None, windows: int, sparsity: float, split: str
    ) -> Measurement | Failed:
        found = super().measure(recipe, windows, sparsity, split)
        if recipe is None or isinstance(found, Failed):
            return found
        numbers = allocation_numbers(recipe.allocation, CHOICES)
        width, (_, most) = numbers.get("half_width", (0.0, (0.0, 0.3)))
        lost = width / most
        if recipe.repair != "none":
            damp = float(recipe.repair.partition("damp=")[2] or 0.01)
            lost = 0.0 if not width else math.log(width / BEST_WIDTH) ** 2
            lost += 0.1 * abs(math.log(damp / BEST_DAMP))
        nll = tuple(value + lost for value in found.nll)
        return replace(found, nll=nll, perplexity=math.exp(sum(nll) / len(nll)))


def test_the_parabola_gives_its_minimum_within_the_trials() -> None:
    losses = [(at - 0.3 * STEP) ** 2 for at in (-STEP, 0.0, STEP)]
    assert lowest_of_three(*losses) == pytest.approx(0.3 * STEP)
    assert lowest_of_three(3.0, 2.0, 1.5) == STEP and lowest_of_three(1.0, 1.9, 3.0) == -STEP
    # Without a minimum the best of the three counts.
    assert lowest_of_three(1.0, 2.0, 1.5) == -STEP and lowest_of_three(1.0, 1.0, 1.0) == 0.0


def test_tuning_measures_what_masks_do_not_show_with_a_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "FREE_OPERATORS", ("tune",))
    monkeypatch.setattr(planning, "DESIGN_OPERATORS", ())
    driver = Repaired()
    spec = make_spec(
        budget=SearchBudget(candidates=14),
        repair_choices=("none", "sparsegpt", "mrp"),
        allocations=("ramp", "sdsa", "formula"),
    )
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
        tuned = {e.alias: e.recipe for e in search.entries if e.operator == "tune" and e.recipe}
        entries = {e.alias: e for e in search.entries}
        best = search.best
    (weak, strong), (end,) = list(tuned)[:2], [a for a in tuned if len(entries[a].parents) > 1]
    # The default strength with the cheap repair is a baseline; its neighbours are measured so too.
    cheap = ["ramp:half_width=0.0667", "ramp:half_width=0.15"]
    assert [tuned[a].allocation for a in (weak, strong)] == cheap
    assert {tuned[a].repair for a in (weak, strong)} == {"sparsegpt"}
    found = allocation_numbers(tuned[end].allocation, CHOICES)["half_width"][0]
    assert tuned[end].repair == "mrp" and found == pytest.approx(BEST_WIDTH, rel=0.1)
    assert entries[end].parents[1:] == (weak, strong)
    # Once for an allocation and a repair; the others are Optuna's, of masks or of the repair.
    damped = [a for a, recipe in tuned.items() if "damp=" in recipe.repair]
    assert damped and len(damped) < len(tuned) - 3
    for alias in (weak, strong, end, *damped):
        assert entries[alias].results.keys() == {2}
        assert f"{alias}.rung1" not in driver.asked
    for alias in damped:
        parent = entries[entries[alias].parents[0]].recipe
        assert parent is not None and mask_key(parent) == mask_key(tuned[alias])
    assert best is not None and best.alias == end
