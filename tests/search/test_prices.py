"""What a pull costs, and how much of a search the designer gets for it."""

from collections import Counter

import pytest

from autoprune.candidate import Candidate
from autoprune.design.bandit import Bandit, SearchLimits
from autoprune.recipe import Recipe
from autoprune.search import DesignerSpec, SearchBudget
from autoprune.search.archive import Archive, Entry
from autoprune.search.arms import sources_of
from autoprune.search.costs import Costs, ExactPass
from autoprune.search.planning import plan_generation
from autoprune.search.randomness import stream
from autoprune.search.state import SearchState
from autoprune.search.steps import Measurement
from tests.support.synthetic import make_spec, plan_without_entries

WANDA = Recipe(Candidate("builtin", "wanda"))


def preferred(limits: SearchLimits, *pulls: tuple[str, float, float, int]) -> str:
    """The arm chosen after pulls (arm, seconds, whole seconds, tokens) that gained the same."""
    bandit = Bandit(("dear", "cheap"), limits=limits)
    for arm, seconds, whole, tokens in pulls:
        bandit.update(arm, 0.1, seconds, whole=whole, tokens=tokens)
    return bandit.choose(("dear", "cheap"), {})


def test_a_price_holds_what_is_limited_and_blames_no_arm_for_promotion() -> None:
    slow, wordy = ("dear", 60.0, 0.0, 0), ("dear", 2.0, 0.0, 900)
    promoted, plain = ("dear", 2.0, 500.0, 0), ("cheap", 2.0, 0.0, 0)
    assert preferred(SearchLimits(), slow, plain) == "cheap"
    assert preferred(SearchLimits(seconds=600, candidates=30), slow, plain) == "cheap"
    # Equals are tried in their order.
    assert preferred(SearchLimits(candidates=30), slow, plain) == "dear"
    assert preferred(SearchLimits(seconds=600, candidates=30), promoted, plain) == "dear"
    assert preferred(SearchLimits(seconds=600), wordy, plain) == "dear"
    assert preferred(SearchLimits(seconds=600, tokens=5000), wordy, plain) == "cheap"
    assert SearchLimits(100.0, 1000, 20).share(5.0, 100) == pytest.approx(0.05 + 0.1 + 0.05)
    # Money counts as the tokens that it buys, where these are fewer.
    budget = SearchBudget(tokens=20000, money=0.01, price=(0.0, 10.0))
    designer = DesignerSpec(kind="scripted", prompt_tokens=300, answer_tokens=100)
    limits = SearchState(
        make_spec(budget=budget, designer=designer), Archive("wanda")
    ).bandit.limits
    assert limits.tokens == pytest.approx(10 * 400)


def designed(monkeypatch: pytest.MonkeyPatch, rate: float, seed: int, answer: float = 25.0) -> int:
    """Slots of the designer among 32, at the measured search's seconds and limits."""

    plan_without_entries(monkeypatch)
    budget = SearchBudget(candidates=200, seconds=1800.0)
    state = SearchState(make_spec(budget=budget), Archive("wanda"))
    state.spent.seconds, chosen = 120.0, Counter[str]()
    rng = stream(seed, 0, 0, "gains")
    for generation in range(1, 9):
        for plan in plan_generation(state, generation, 4, [], set()):
            source = sources_of(state.spec)[plan.operator]
            chosen[source] += 1
            asking = answer if source == "designer" else 0.0
            gains = rng.random() < (rate if asking else 0.1)
            whole = 50.0 * (rng.random() < 0.5)
            state.asking_seconds += asking
            state.spent.seconds += 4.0 + asking + whole
            state.bandit.update(plan.operator, 0.02 * gains, 4.0 + asking, whole=whole)
    return chosen["designer"]


def test_a_designer_that_gains_gets_a_third_and_one_that_does_not_its_floor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gaining, idle, slow = (
        [designed(monkeypatch, rate, seed, answer) for seed in range(8)]
        for rate, answer in ((0.3, 25.0), (0.0, 25.0), (0.0, 200.0))
    )
    assert sum(gaining) / 8 >= 32 / 3
    # One slot in each of eight generations (its time may be up in one), and a few more at first.
    assert min(idle) >= 8 - 1 and max(idle) <= 8 + 4
    # Beyond a fifth of the time there is no floor.
    assert max(slow) <= 4


def test_sealed_text_is_priced_in_float32_where_selection_text_is_rounded() -> None:
    archive = Archive("wanda")
    entry = archive.add(Entry("wanda", 0, "baseline", WANDA))
    spec = make_spec()
    seconds = 4.0 * spec.selection_windows
    entry.results[2] = Measurement((4.0,), 9, 50.0, seconds=seconds)
    plain = Costs(spec, archive)
    assert plain.sealed_pass() == 4.0 * spec.sealed_windows
    rounded = spec.model_copy(update={"precision": "bfloat16"})
    assumed = Costs(rounded, archive)
    assert assumed.sealed(WANDA) == assumed.sealed_pass() == 2 * plain.sealed_pass()
    # As soon as windows were measured in float32, one of them with pruning.
    known = Costs(rounded, archive, ExactPass(window=11.0, masked=14.0))
    assert known.sealed(WANDA) == 14.0 + 11.0 * (spec.sealed_windows - 1)


def test_one_slow_pass_does_not_reserve_the_time_of_a_search() -> None:
    # The first pass of a process took 3.6 s where later ones took 1.5.
    assert ExactPass.of([3.6], [3.4, 6.0, 3.1]) == ExactPass(3.1, pytest.approx(12.5 / 3))
    assert ExactPass.of([3.6, 1.5], [3.4]) == ExactPass(1.5, 3.4)
    # Nor does one fast pass of long ago promise that all are.
    assert ExactPass.of([0.5, 2.0, 2.1, 2.2], [1.0, 4.0, 4.0, 4.0]) == ExactPass(2.0, 4.0)
    assert ExactPass.of([2.0], []) == ExactPass(2.0, 2.0) and ExactPass.of([], [1.0]) is None


def test_a_chain_of_repairs_is_expected_to_take_what_its_parts_take() -> None:
    spec, archive = make_spec(), Archive("wanda")
    costs = Costs(spec, archive)

    def measured(repair: str, seconds: float) -> None:
        recipe = Recipe(WANDA.metric, repair=repair)
        entry = archive.add(Entry(repair, 0, "baseline", recipe))
        entry.results[2] = Measurement((4.0,), 9, 50.0, seconds=seconds)

    measured("none", 10.0)
    assert costs.repair("mrp+ebft:epochs=2") == 10.0 * (6 + 15)
    assert costs.repair("walk:dsnot+mrp") == 10.0 * (2 + 6)
    measured("ebft:epochs=2", 190.0)
    assert costs.repair("mrp+ebft") == 60.0 + 180.0 and costs.repair("mrp") == 60.0
    measured("walk:mrp:damp=0.02", 100.0)
    # What walks with one repair says nothing of another.
    assert [costs.repair(text) for text in ("walk:mrp", "walk:sparsegpt")] == [90.0, 30.0]
