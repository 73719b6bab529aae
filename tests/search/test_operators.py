"""What slots do: bandit, plans, tuning; all repeatable."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoprune.allocation import build_allocator
from autoprune.candidate import Candidate
from autoprune.design.bandit import Bandit
from autoprune.design.graph import worth_of_factors
from autoprune.metrics.language import parse
from autoprune.recipe import Recipe
from autoprune.search import Search, SearchBudget, planning
from autoprune.search.archive import Entry
from autoprune.search.arms import OPERATORS, sources_of
from autoprune.search.moves import (
    crossed_recipe,
    mask_key,
    mutated_recipe,
    random_recipe,
    recipe_key,
    recombined,
)
from autoprune.search.planning import plan_generation, plan_operator
from autoprune.search.randomness import stream
from autoprune.search.starts import RecipeSpec
from autoprune.search.tuning import MASKS, REPAIR, numbers, suggest, tunable_form
from tests.support.synthetic import Synthetic, drive, make_spec

CHOICES = make_spec().choices


def recipe(text: str, allocation: str = "uniform", repair: str = "none") -> Recipe:
    return Recipe(Candidate("expression", parse(text).text), "row", allocation, repair)


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


def test_a_metric_that_its_repair_ignores_makes_no_other_recipe() -> None:
    own = "mrp:select=own+ebft"
    first, second = (recipe(text, "ramp", own) for text in ("abs(W) * x_norm", "abs(W)"))
    assert recipe_key(first) == recipe_key(second) and mask_key(first) != mask_key(second)
    assert recipe_key(first) != recipe_key(replace(first, allocation="uniform"))
    assert recipe_key(first) != recipe_key(replace(first, group="matrix"))
    assert recipe_key(first) != recipe_key(replace(first, repair="mrp+ebft"))


def test_numbers_of_a_metric_that_its_repair_ignores_are_not_tuned() -> None:
    base = recipe("abs(W) * x_norm ** {a:0.5}", "ramp", "mrp:select=own")
    assert set(numbers(base, CHOICES)) == {
        "allocation.half_width", "allocation.relax_last", "repair.damp"
    }  # fmt: skip
    assert tunable_form(base) == base
    # What differs in its metric only teaches as well as the recipe itself.
    other = Entry("C1", 1, "mutate", recipe("abs(W)", "ramp:half_width=0.12", base.repair))
    apart = [suggest(base, CHOICES, known, 5) for known in ([], [(other, 0.0)] * 4)]
    assert apart[0] != apart[1]
    assert all(found.metric == base.metric for found in apart)


def test_a_designer_is_asked_for_metrics_where_they_count(tmp_path: Path) -> None:
    own = "mrp:select=own"
    made = tuple(RecipeSpec(metric="wanda", repair=repair) for repair in ("none", own))
    spec = make_spec(
        baselines=made, repair_choices=("none", "mrp", own), budget=SearchBudget(candidates=0)
    )
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic())
        state = search._loop.state
        best = state.archive.best()
        assert best is not None and best.recipe is not None and best.recipe.repair == own
        asked = {
            name: plan_operator(state, 1, name, ["a"], set())
            for name in ("explore", "critique", "exploit")
        }
    assert {plan.part for plan in asked["exploit"]} == {"allocation", "repair"}
    assert all(plan.parents == (best.alias,) for plan in asked["exploit"])
    for name in ("explore", "critique"):
        assert [plan.parents for plan in asked[name]] == [("wanda",)]


@pytest.mark.parametrize("repair", ["mrp", "walk:mrp", "mrp+ebft", "ebft"])
def test_suggestions_move_numbers_of_masks_or_of_the_repair_near_the_best(repair: str) -> None:
    base = recipe("abs(W) * x_norm ** {a:0.5}", "sdsa:level=projection,strength=0.2", repair)
    spans = {name: span for name, (_, span) in numbers(base, CHOICES).items()}
    masks = {"metric.a": (0.125, 2.0), "allocation.strength": (0.0, 0.5)}
    own = {"repair.damp": (0.001, 0.1), "repair.ebft.rate": (0.003, 0.03)}
    declared = {n: s for n, s in own.items() if ("mrp" if "damp" in n else "ebft") in repair}
    assert spans == masks | declared and len(declared) == 1 + (repair == "mrp+ebft")
    tries = [suggest(base, CHOICES, [], seed, MASKS) for seed in range(6) for _ in range(2)]
    assert len({tuned.digest for tuned in tries}) == 6
    for tuned in tries:
        found = {name: value for name, (value, _) in numbers(tuned, CHOICES).items()}
        assert found.keys() == spans.keys()
        assert 0.05 <= found["allocation.strength"] <= 0.35
        assert "level=projection" in tuned.allocation
        assert tuned.repair == repair
    for tuned in (suggest(base, CHOICES, [], seed, REPAIR) for seed in range(6)):
        assert mask_key(tuned) == mask_key(base) and tuned.repair != repair
        for name, (value, _) in numbers(tuned, CHOICES, REPAIR).items():
            # By the logarithm: as far down as up from the default of 0.01.
            reach = 100**0.3 if name == "repair.damp" else 10**0.3
            assert 0.0099 / reach < value < 0.0101 * reach
    assert numbers(recipe("abs(W)"), CHOICES) == {}


def test_what_has_no_constants_gets_an_exponent_that_changes_nothing() -> None:
    wanda = Recipe(Candidate("builtin", "wanda"), allocation="formula:0.1*depth")
    form = tunable_form(wanda)
    assert parse(form.metric.source).constants == {"a": 1.0}
    assert numbers(form, CHOICES).keys() == {"metric.a", "allocation.c0"}
    weight, stats = torch.randn(3, 4), {"x_norm": torch.rand(4) + 0.5}
    lifted = parse(form.metric.source).evaluate(weight, stats)
    assert torch.equal(lifted, parse("abs(W) * x_norm").evaluate(weight, stats))
    assert tunable_form(recipe("abs(W)")) == recipe("abs(W)")
    deepest = recipe("abs(" * 24 + "W * x_norm" + ")" * 24)
    assert tunable_form(deepest) == deepest


def test_tuning_stays_near_numbers_beyond_the_usual_range() -> None:
    for allocation, least, most in (
        ("formula:0.8 * depth + 0.05 * tail", 0.3, 1.3),
        ("formula:80 * last", 50.0, 100.0),
        ("ramp:half_width=0.4", 0.25, 0.4),
    ):
        base = recipe("abs(W)", allocation)
        for seed in range(6):
            known = numbers(suggest(base, CHOICES, [], seed), CHOICES)
            assert least <= next(iter(known.values()))[0] <= most
            assert known.get("allocation.c1", (0.0,))[0] <= 0.15


def test_what_was_measured_teaches_the_tuner() -> None:
    base = recipe("abs(W)", "ramp:half_width=0.1,relax_last=0.5", "mrp:damp=0.02")
    known = []
    for number, width in enumerate((0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18)):
        other = recipe("abs(W)", f"ramp:half_width={width},relax_last=0.5", "mrp")
        known.append((Entry(f"C{number}", number, "tune", other), (width - 0.15) ** 2))
        # Another mask choice, or another metric, is another structure and teaches nothing here.
        for wrong in (replace(other, repair="mrp:select=own"), replace(other, group="matrix")):
            known.append((Entry(f"X{len(known)}", 0, "tune", wrong), width))
    widths = [
        numbers(suggest(base, CHOICES, known, seed), CHOICES)["allocation.half_width"][0]
        for seed in range(20)
    ]
    assert sum(width > 0.1 for width in widths) >= 15


def test_moves_reach_every_part_and_stay_in_the_language() -> None:
    rng = stream(0, 0, 0, "moves")
    base = recipe("abs(W) * x_norm", "ramp")
    changed = set()
    for _ in range(200):
        found = mutated_recipe(base, rng, CHOICES)
        parts = ("metric", "group", "allocation", "repair")
        different = [p for p in parts if getattr(found, p) != getattr(base, p)]
        assert len(different) <= 1
        changed.update(different)
        assert build_allocator(found.allocation).text == found.allocation
        assert found.repair in CHOICES.all_repairs
    assert changed == {"metric", "group", "allocation", "repair"}
    first, second = (random_recipe(rng, CHOICES) for _ in range(2))
    for _ in range(20):
        child = crossed_recipe(first, second, rng)
        assert child.allocation in (first.allocation, second.allocation)
        assert child.repair in (first.repair, second.repair)


def test_recombining_takes_the_metric_of_one_and_the_rest_of_the_other() -> None:
    first = recipe("abs(W) * x_max")
    second = recipe("abs(W)", "ramp:half_width=0.2", "sparsegpt")
    assert recombined(first, second) == recipe("abs(W) * x_max", "ramp:half_width=0.2", "sparsegpt")
    assert mask_key(recombined(first, second)) == mask_key(
        recipe("abs(W) * x_max", "ramp:half_width=0.2")
    )


def test_what_is_worse_than_the_reference_is_recombined_with_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=24))) as search:
        drive(search, Synthetic())
        state = search._loop.state
        bad = [e.alias for e in state.archive.measured() if e.score > 0]
        assert bad
        monkeypatch.setattr(planning, "FREE_OPERATORS", ("recombine",))
        monkeypatch.setattr(planning, "DESIGN_OPERATORS", ())
        taken: set[str] = set()
        made = [plan_generation(state, 30, 1, [], taken)[0] for _ in range(60)]
        pairs = [plan.parents for plan in made if plan.operator == "recombine"]
        assert len(pairs) > 5 and made[-1].operator == "random"
        assert not {alias for pair in pairs for alias in pair} & set(bad)


def simulated(pays: str, seconds: dict[str, float], pulls: int) -> Counter[str]:
    """Shares of sources when only arms of one source ever gain."""
    sources = sources_of(make_spec())
    bandit, rng = Bandit(OPERATORS, sources), stream(1, 0, 0, pays)
    chosen: Counter[str] = Counter()
    for _ in range(pulls):
        arm = bandit.choose(OPERATORS, {})
        source = sources[arm]
        gain = 0.02 if source == pays and rng.random() < 0.3 else 0.0
        bandit.update(arm, gain, seconds[source])
        chosen[source] += 1
    return chosen


def test_bandit_shifts_from_a_weak_designer_to_what_pays_and_back() -> None:
    weak = simulated("free", {"designer": 14.0, "free": 8.0}, 48)
    assert weak["free"] > 2 * weak["designer"] > 0
    strong = simulated("designer", {"designer": 14.0, "free": 8.0}, 96)
    assert strong["designer"] > 1.5 * strong["free"]


def test_plans_are_repeatable_and_distinct(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=12))) as search:
        drive(search, Synthetic())
        state = search._loop.state
        first, second = (plan_generation(state, 9, 8, ["a", "b"], set()) for _ in range(2))
        assert first == second
        made = [recipe_key(plan.recipe) for plan in first if plan.recipe]
        assert len(set(made)) == len(made)
        for plan in first:
            assert all(parent in state.archive for parent in plan.parents)


def test_ablations_become_facts_in_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "FREE_OPERATORS", ("ablate",))
    monkeypatch.setattr(planning, "DESIGN_OPERATORS", ())
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=6))) as search:
        drive(search, Synthetic())
        assert {e.operator for e in search.entries if not e.is_baseline} >= {"ablate"}
        facts = [n.body for n in search.graph.of_kind("observation") if "text" in n.body]
        assert any(" without " in body["text"] for body in facts)


@pytest.fixture
def only_extend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "FREE_OPERATORS", ("extend",))
    monkeypatch.setattr(planning, "DESIGN_OPERATORS", ())


@pytest.mark.usefixtures("only_extend")
def test_extensions_become_facts_in_the_graph(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=16))) as search:
        drive(search, Synthetic())
        terms = search._loop.state.terms
        made = [e for e in search.entries if e.operator == "extend"]
        assert len(made) >= 8
        bodies = [n.body for n in search.graph.of_kind("observation") if n.body.get("added")]
        assert len(bodies) >= 8 and {body["term"] for body in bodies} <= set(terms.values())
        for body in bodies:
            assert body["text"].startswith(f"{body['formula']} with {body['term']}: ")
        worth = worth_of_factors(search.graph)
        assert min(worth.values()) < 0 < max(worth.values())
        # No recipe is extended by the same factor twice.
        pairs = [(e.parents[0], terms[e.alias]) for e in made]
        assert len(set(pairs)) == len(pairs)


@pytest.mark.usefixtures("only_extend")
def test_what_helped_is_added_first_and_what_hurt_the_other_way(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=0))) as search:
        drive(search, Synthetic())
        state = search._loop.state

        def added_next() -> str | None:
            plan = plan_generation(state, 1, 1, [], set())[0]
            assert plan.operator == "extend" and plan.recipe is not None
            assert state.archive.cheap(state.archive[plan.parents[0]]) is not None
            return plan.term

        def note(term: str, nats: float) -> None:
            alias = f"x{len(state.graph.nodes)}"
            body = {"term": term, "added": True, "formula": "abs(W)", "subject": "C9"}
            state.graph.add(alias, "observation", {**body, "nats": nats, "verdict": "better"})

        note("* x_max ** 0.5", 0.4)
        assert added_next() == "/ x_max ** 0.5"
        note("* x_var ** 0.5", -0.3)
        assert added_next() == "* x_var ** 0.5"
        # What was tried with this recipe is not tried again.
        tried = {recipe_key(plan_generation(state, 1, 1, [], set())[0].recipe)}  # type: ignore[arg-type]
        assert plan_generation(state, 1, 1, [], tried)[0].term == "/ x_max ** 0.5"


@pytest.mark.usefixtures("only_extend")
def test_no_factor_is_the_first_of_every_search(tmp_path: Path) -> None:
    """A fixed order would decide what a search finds before it knows a fact."""

    def first_of(seed: int, folder: str) -> str | None:
        spec = make_spec(seed=seed, budget=SearchBudget(candidates=0))
        with Search.open(tmp_path / folder, spec) as search:
            drive(search, Synthetic())
            return plan_generation(search._loop.state, 1, 1, [], set())[0].term

    found = [first_of(seed, f"s{seed}") for seed in range(8)]
    assert len(set(found)) >= 4
    # The same seed draws the same order.
    assert [first_of(seed, f"again{seed}") for seed in range(2)] == found[:2]


@pytest.mark.parametrize("purpose", ["plan", "answer"])
def test_streams_are_independent(purpose: str) -> None:
    draws = {stream(1, g, s, purpose).random() for g in range(5) for s in range(5)}
    assert len(draws) == 25
    assert stream(1, 2, 3, purpose).random() == stream(1, 2, 3, purpose).random()
