"""What slots do: bandit, plans, tuning; all repeatable."""

from pathlib import Path

import pytest
from synthetic import Synthetic, drive, make_spec

from autoprune.design.bandit import Bandit
from autoprune.metrics.language import parse
from autoprune.recipe import Candidate, Recipe
from autoprune.search import Budget, Search
from autoprune.search.planning import plan_generation, recipe_key
from autoprune.search.randomness import stream
from autoprune.search.tuning import suggest, tunables


def recipe(text: str, allocation: str = "uniform") -> Recipe:
    return Recipe(Candidate("expression", parse(text).text), "row", allocation)


def test_bandit_tries_all_then_what_pays() -> None:
    bandit = Bandit(("a", "b", "c"))
    assert [bandit.choose(("a", "b", "c"), {}), bandit.choose(("a", "b"), {"a": 1})] == ["a", "b"]
    for arm, gain in [("a", 0.0), ("b", 0.5), ("c", 0.0)] * 6:
        bandit.update(arm, gain, 1.0)
    assert bandit.choose(("a", "b", "c"), {}) == "b"
    assert bandit.choose(("a", "c"), {}) == "a"


def test_bandit_prices_slow_arms() -> None:
    bandit = Bandit(("slow", "fast"))
    for _ in range(5):
        bandit.update("slow", 0.1, 60.0)
        bandit.update("fast", 0.1, 2.0)
    assert bandit.choose(("slow", "fast"), {}) == "fast"


def test_bandit_never_counts_a_loss_as_a_debt() -> None:
    bandit = Bandit(("a",))
    bandit.update("a", -3.0, 1.0)
    assert bandit.known["a"].reward == 0.0


def test_recipes_that_differ_in_writing_have_one_key() -> None:
    same = [recipe("abs(W) * x_norm"), recipe("x_norm * abs(W)"), recipe("sqrt(sq(W)) * x_norm")]
    builtin = Recipe(Candidate("builtin", "wanda"), "row", "uniform")
    assert len({recipe_key(r) for r in [*same, builtin]}) == 1
    assert recipe_key(recipe("abs(W) * x_norm", "sdsa")) != recipe_key(same[0])


def test_tunables_and_suggestions_stay_in_range() -> None:
    base = recipe("abs(W) * x_norm ** {a:0.5}", "sdsa:level=block,strength=0.15")
    ranges = tunables(base, {"sdsa": {"strength": (0.0, 0.5)}})
    assert ranges == {"metric.a": (0.125, 2.0), "allocation.strength": (0.0, 0.5)}
    tries = [suggest(base, ranges, [], seed) for seed in range(6) for _ in range(2)]
    seen = {tuned.digest: tuned for tuned in tries}
    assert len(seen) == 6
    for tuned in seen.values():
        assert 0.125 <= parse(tuned.metric.source).constants["a"] <= 2.0
        assert tuned.allocation.startswith("sdsa:level=block,strength=")
    assert tunables(recipe("abs(W)"), {}) == {}


def test_plans_are_repeatable_and_distinct(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec(budget=Budget(candidates=12))) as search:
        drive(search, Synthetic())
        state = search._script.state
        first, second = (plan_generation(state, 9, 8, ["a", "b"], set()) for _ in range(2))
        assert first == second
        made = [recipe_key(plan.recipe) for plan in first if plan.recipe]
        assert len(set(made)) == len(made)
        assert len(made) <= 4
        for plan in first:
            assert all(parent in state.archive for parent in plan.parents)


def test_ablations_become_facts_in_the_graph(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec(budget=Budget(candidates=24))) as search:
        drive(search, Synthetic())
        facts = [n.body for n in search.graph.of_kind("observation") if "text" in n.body]
        assert any(" without " in body["text"] for body in facts)


@pytest.mark.parametrize("purpose", ["plan", "answer"])
def test_streams_are_independent(purpose: str) -> None:
    draws = {stream(1, g, s, purpose).random() for g in range(5) for s in range(5)}
    assert len(draws) == 25
    assert stream(1, 2, 3, purpose).random() == stream(1, 2, 3, purpose).random()
