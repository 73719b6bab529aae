"""Random formulas, mutation, crossover and ablation: valid, deterministic, different."""

import random

import numpy as np
import pytest

from autoprune.metrics.language import (
    BASIC_TERMINALS,
    TERMINALS,
    ablations,
    crossover,
    mutate,
    parse,
    random_expression,
    term_ablations,
)

RIA = "(abs(W) / row_sum(abs(W)) + abs(W) / col_sum(abs(W))) * x_norm ** {a:0.5}"
SEEDS = ("abs(W) * x_norm", RIA, "sq(W) / x_var + {a:0.1} * abs(W - row_mean(W))")


def _walk(rng: random.Random | np.random.Generator, steps: int) -> list[str]:
    population = [parse(text) for text in SEEDS]
    for _ in range(steps):
        population.append(random_expression(rng))
        population.append(mutate(population[int(rng.random() * len(population))], rng))
        left, right = population[-2], population[int(rng.random() * len(population))]
        population.append(crossover(left, right, rng))
    return [expression.text for expression in population]


@pytest.mark.parametrize("make", [random.Random, np.random.default_rng])
def test_the_same_seed_gives_the_same_formulas(make: type) -> None:
    first = _walk(make(5), 150)
    assert first == _walk(make(5), 150)
    assert first != _walk(make(6), 150)
    assert len(set(first)) > 300


def test_everything_is_valid_and_within_the_statistics_of_the_run() -> None:
    for text in _walk(random.Random(1), 300):
        expression = parse(text, terminals=BASIC_TERMINALS)
        assert expression.text == text
        assert expression.size <= 60


def test_mutants_differ_from_their_parent_in_more_than_writing() -> None:
    rng = random.Random(2)
    for text in SEEDS:
        parent = parse(text)
        children = [mutate(parent, rng) for _ in range(200)]
        assert all(child.digest != parent.digest for child in children)
        assert len({child.digest for child in children}) > 100


def test_mutation_reaches_constants_alone() -> None:
    rng = random.Random(3)
    parent = parse(RIA)
    children = [mutate(parent, rng) for _ in range(200)]
    tuned = [child for child in children if child.structure == parent.structure]
    assert tuned and all(list(child.constants.values()) != [0.5] for child in tuned)


def test_crossover_renames_clashing_constants() -> None:
    rng = random.Random(4)
    left, right = parse("abs(W) * x_norm ** {a:0.5}"), parse("W ** {a:3} + x_max ** {b:2}")
    texts = {crossover(left, right, rng).text for _ in range(100)}
    assert len(texts) > 5
    for text in texts:
        constants = parse(text).constants
        assert constants.get("a", 0.5) == 0.5
    assert any("{c:3}" in text for text in texts)


def test_crossover_of_a_formula_with_itself_ends() -> None:
    formula = parse("abs(W)")
    assert crossover(formula, formula, random.Random(0)).text


def test_random_formulas_use_what_is_offered() -> None:
    rng = random.Random(6)
    formulas = [random_expression(rng, terminals=TERMINALS) for _ in range(400)]
    used = set().union(*[formula.needs for formula in formulas])
    assert used == set(TERMINALS) - {"W"}
    bare = [random_expression(rng, terminals=("W",)) for _ in range(100)]
    assert all(not formula.needs for formula in bare)


def test_ablations_of_wanda() -> None:
    assert [(a.dropped, a.expression.text) for a in term_ablations(parse("abs(W) * x_norm"))] == [
        ("x_norm", "abs(W)"),
        ("abs(...)", "W * x_norm"),
    ]


def test_ablations_of_every_kind_of_term() -> None:
    texts = {e.text for e in ablations(parse("abs(W) / x_norm - x_mean ** {a:2}"))}
    assert texts == {
        "abs(W) / x_norm",
        "abs(W) - x_mean ** {a:2}",
        "W / x_norm - x_mean ** {a:2}",
        "abs(W) / x_norm - abs(x_mean)",
    }


def test_ablations_are_valid_distinct_and_smaller_or_simpler() -> None:
    rng = random.Random(7)
    for _ in range(100):
        parent = random_expression(rng, depth=5)
        found = term_ablations(parent)
        digests = [ablation.expression.digest for ablation in found]
        assert len(set(digests)) == len(digests)
        assert parent.digest not in digests
        for ablation in found:
            assert ablation.dropped
            assert ablation.expression.size <= parent.size
            assert parse(ablation.expression.text) == ablation.expression
