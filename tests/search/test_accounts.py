"""What a search keeps account of: dear winners, how rungs agree, terms that do nothing."""

import math
from dataclasses import replace
from random import Random
from statistics import fmean

import pytest
from pydantic import ValidationError

from autoprune.candidate import Candidate
from autoprune.design.chat import Reply, Usage
from autoprune.design.detail import observation
from autoprune.recipe import Recipe
from autoprune.search import SearchBudget, graph_notes
from autoprune.search.archive import Archive, Entry
from autoprune.search.budget import TimeBudget, reason_to_stop, reserve_seconds
from autoprune.search.evaluator import Evaluator
from autoprune.search.paired import paired_difference
from autoprune.search.state import CORRELATION_WANTED, SearchState
from autoprune.search.steps import Measurement, Validation
from tests.support.synthetic import make_spec


def measurement(loss: float, seconds: float, windows: int = 6) -> Measurement:
    nll = tuple(loss + 0.01 * window for window in range(windows))
    return Measurement(nll, 10, math.exp(loss), seconds=seconds)


def state_with(*entries: Entry, **settings: object) -> SearchState:
    """A state that knows these entries, the reference first."""
    spec = make_spec(**settings)
    state = SearchState(spec, Archive("wanda", "none"))
    reference = Entry("wanda", 0, "baseline", Recipe(Candidate("builtin", "wanda")))
    reference.results[2] = measurement(4.0, 1.0)
    for entry in (reference, *entries):
        entry.status = "measured"
        state.archive.add(entry)
        if entry.results:
            nll = entry.results[max(entry.results)].nll
            entry.change = paired_difference(nll, reference.results[2].nll)
    return state


def with_repair(alias: str, order: int, repair: str, few: float, whole: float) -> Entry:
    metric = Candidate("expression", f"abs(W) * x_norm ** {{{0.1 * order:.1f}}}")
    entry = Entry(alias, order, "mutate", Recipe(metric, repair=repair), proxied=True, few=3)
    entry.results = {1: measurement(few, 0.5, 3), 2: measurement(whole, 5.0)}
    return entry


def test_a_dear_winner_makes_the_end_dearer() -> None:
    # Worse than the reference, so that the end is still as cheap as can be.
    state = state_with(with_repair("C1", 1, "sparsegpt", 4.5, 4.5), draws=3, sealed_windows=6)
    dear = Recipe(Candidate("builtin", "ria"), repair="sparsegpt")
    # It is measured, measured sealed, and pruned from two other draws: 4 s dearer than Wanda.
    assert reserve_seconds(state, dear) - reserve_seconds(state) == pytest.approx(8.0)
    assert not TimeBudget(state, 12.9).charge(dear)
    budget = TimeBudget(state, 5.0 + 8.0 + 5.0)
    # Only one of them can win.
    assert budget.charge(dear) and budget.charge(dear) and not budget.charge(dear)


def test_a_generation_starts_while_one_recipe_could_still_be_measured() -> None:
    dear = with_repair("C1", 1, "sparsegpt", 4.5, 4.5)
    dear.results[2] = measurement(4.5, 20.0)
    state = state_with(dear, budget=SearchBudget(candidates=90, seconds=100.0))
    state.generation, state.check_seconds, state.asking_seconds = 2, 1.5, 8.0
    # Sentinels, a generation's answers, four candidates on half of the windows, and one on all.
    least = 1.5 + 8.0 / 2 + 4 * 0.5 + 1.0
    for spare, reason in ((0.1, None), (-0.1, "seconds")):
        state.spent.seconds = 100.0 - reserve_seconds(state) - least - spare
        assert reason_to_stop(state) == reason
    # What is dear is measured only where it fits, so it does not end the search.
    assert dear.recipe is not None and state.costs.whole(dear.recipe) > least


def test_rungs_are_compared_among_recipes_of_one_repair() -> None:
    """What a repair gains over masks alone says nothing of how few windows rank."""
    plain = [with_repair(f"C{n}", n, "none", 3.5 + 0.1 * n, 3.6 + 0.1 * n) for n in (1, 2, 3)]
    dear = [with_repair(f"C{n}", n, "sparsegpt", 4.5 + 0.1 * n, 2.0 + 0.1 * n) for n in (4, 5, 6)]
    state = state_with(*plain, *dear)
    correlation, pairs = state.rung_correlation()
    assert correlation == pytest.approx(1.0) and pairs == 6
    assert state.rung_windows == 3
    # Alone of its repair it has none to be ranked with.
    assert state_with(*plain, dear[0]).rung_correlation()[1] == 3
    # One that masks alone cannot judge was the worst by them and is the best as it is.
    even = with_repair("C7", 7, "sparsegpt", 6.0, 1.0)
    assert state_with(*dear, even).rung_correlation()[0] != pytest.approx(1.0)
    even.direct = True
    assert state_with(*dear, even).rung_correlation() == (pytest.approx(1.0), 3)


def raced(number: int, nll: tuple[float, ...], few: int) -> Entry:
    """A recipe without repair, measured on ``few`` windows and then on all of them."""
    metric = Candidate("expression", f"abs(W) * x_norm ** {{{0.1 * number:.1f}}}")
    entry = Entry(f"C{number}", number, "mutate", Recipe(metric), few=few)
    entry.results = {1: Measurement(nll[:few], 10, 1.0), 2: Measurement(nll, 10, 1.0)}
    return entry


def agreement(signal: float, *, few: int = 4, whole: int = 12) -> float:
    """Mean rank correlation of few windows with the others, over many searches of ten recipes."""
    found = []
    for seed in range(60):
        rng = Random(seed)
        entries = []
        for number in range(1, 11):
            worth = rng.gauss(0.0, signal)
            nll = tuple(4.0 + worth + rng.gauss(0.0, 1.0) for _ in range(whole))
            entries.append(raced(number, nll, few))
        state = state_with(*entries, rung_windows=few, selection_windows=whole)
        state.reference().results[2] = measurement(4.0, 1.0, whole)
        correlation, pairs = state.rung_correlation()
        assert pairs == 10 and correlation is not None
        found.append(correlation)
    return fmean(found)


def test_few_windows_do_not_agree_with_themselves() -> None:
    """Noise has no rank; windows that both sides held gave it a correlation of one half."""
    assert abs(agreement(0.0)) < 0.1
    assert agreement(1.0) > 0.7
    # What ranks with 0.6 as all text would shows what is wanted.
    assert agreement(math.sqrt(0.36 / 0.64 / 4)) == pytest.approx(CORRELATION_WANTED, abs=0.1)


@pytest.mark.parametrize(("few", "whole", "counted"), [(4, 5, 0), (4, 6, 3), (3, 3, 0)])
def test_one_other_window_would_tell_of_its_own_noise(few: int, whole: int, counted: int) -> None:
    entries = [raced(n, tuple(3.0 + 0.1 * n for _ in range(whole)), few) for n in (1, 2, 3)]
    assert state_with(*entries).rung_correlation()[1] == counted


def masks_alone(alias: str, order: int, allocation: str, error: float, loss: float) -> Entry:
    metric = Candidate("expression", f"abs(W) * x_norm ** {{{0.1 * order:.1f}}}")
    entry = Entry(alias, order, "mutate", Recipe(metric, allocation=allocation), few=3)
    entry.validation = Validation(True, signature=alias, reconstruction_error=error)
    entry.results = {1: measurement(loss, 0.5, 3)}
    return entry


def test_real_layers_are_compared_among_masks_of_one_allocation() -> None:
    """An allocation changes the loss and not the error on a few layers, which share no budget."""
    even = [masks_alone(f"C{n}", n, "uniform", 0.1 * n, 4.0 + 0.1 * n) for n in (1, 2, 3)]
    # With a ramp all are better, and the errors rank them the wrong way round.
    ramp = [masks_alone(f"C{n}", n, "ramp", 0.1 * n, 3.5 - 0.1 * n) for n in (4, 5, 6)]
    for entries, expected in ((even, 1.0), (ramp, -1.0), ([*even, *ramp], 0.0)):
        state = state_with(*entries)
        state.archive.note_cheap(state.reference(), measurement(4.0, 1.0))
        for entry in entries:
            state.archive.note_cheap(entry, entry.results[1])
        correlation, pairs = state.layer_correlation()
        assert correlation == pytest.approx(expected) and pairs == len(entries)
        # The same masks with a repair count once.
        first = entries[0]
        assert first.recipe is not None
        again = masks_alone("C9", first.order, first.recipe.allocation, 0.9, 9.0)
        again.status = "measured"
        again.recipe = replace(first.recipe, repair="mrp")
        state.archive.add(again)
        assert state.layer_correlation() == (correlation, pairs)


def test_an_answer_that_a_server_does_not_count_costs_the_most_it_may() -> None:
    state = state_with(budget=SearchBudget(money=1.0, price=(1.0, 3.0)))
    state.charge([Reply("x", Usage(1000, 100)), Reply("y")])
    designer = state.spec.designer
    most = (designer.prompt_tokens + 3 * designer.answer_tokens) / 1e6
    assert state.spent.money == pytest.approx(0.0013 + most)
    # Without a limit nothing is made up.
    free = state_with()
    free.charge([Reply("y")])
    assert free.spent.tokens == 0


@pytest.mark.parametrize("price", [None, (0.0, 0.0)])
def test_a_limit_in_money_needs_a_price(price: tuple[float, float] | None) -> None:
    with pytest.raises(ValidationError, match="money 2 needs a price above zero"):
        SearchBudget(money=2.0, price=price)


def test_a_term_that_changes_no_mask_becomes_a_fact() -> None:
    formulas = ("abs(W) * x_max * row_mean(abs(W))", "abs(W) * x_max")
    whole, less = (
        Entry(f"C{n}", n, "ablate", Recipe(Candidate("expression", text)), formula=text)
        for n, text in enumerate(formulas, 1)
    )
    less.parents = ("C1",)
    state = state_with(whole, less)
    graph_notes.note_task(state)
    for entry in (whole, less):
        graph_notes.note_proposal(state, entry)
    state.terms["C2"] = "row_mean(abs(W))"
    Evaluator(state).share(less, whole)
    shown = "without row_mean(abs(W)): the same masks, the term does nothing"
    fact = state.graph.nodes["C2.o"]
    assert fact.body["text"] == f"{formulas[0]} {shown}"
    assert (fact.body["verdict"], fact.body["nats"]) == ("same", 0.0)
    assert observation(fact).line == f"dropping row_mean(abs(W)) from {formulas[0]} changes nothing"


def test_an_improvement_on_few_windows_falls_with_all_of_them() -> None:
    noisy = tuple(0.001 * (window % 2) for window in range(6))
    parent = raced(1, tuple(4.0 + small for small in noisy), 3)
    child = raced(2, (3.9, 3.9, 3.9, 5.1, 5.1, 5.1), 3)
    child.parents = ("C1",)
    state = state_with(parent, child)
    graph_notes.note_task(state)
    whole = child.results.pop(2)
    for entry in (parent, child):
        graph_notes.note_proposal(state, entry)
        graph_notes.note_result(state, entry, entry.rung, entry.results[entry.rung])
    assert state.graph.nodes["C2.r1"].body["against"] == {"C1": "better"}
    assert [node.alias for node in state.graph.improved("C2")] == ["C1"]
    child.results[2] = whole
    graph_notes.note_result(state, child, 2, whole)
    assert state.graph.nodes["C2.r2"].body["against"] == {"C1": "unclear"}
    assert state.graph.improved("C2") == [] and state.graph.wins("C1") == 0
