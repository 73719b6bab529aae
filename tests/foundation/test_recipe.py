"""Recipes survive JSON and differ by every part."""

import json
from dataclasses import replace

from autoprune.candidate import Candidate
from autoprune.recipe import Recipe

RECIPE = Recipe(Candidate("expression", "abs(W) * x_norm", {"a": 0.5}), "row", "sdsa", "mrp")


def test_json_round_trip() -> None:
    assert Recipe.from_json(json.loads(json.dumps(RECIPE.to_json()))) == RECIPE


def test_every_part_changes_the_digest() -> None:
    others = [
        replace(RECIPE, metric=replace(RECIPE.metric, params={"a": 0.6})),
        replace(RECIPE, group="matrix"),
        replace(RECIPE, allocation="ramp"),
        replace(RECIPE, repair="none"),
    ]
    assert len({recipe.digest for recipe in [RECIPE, *others]}) == 5


def test_a_program_prunes_block_after_block() -> None:
    program = Candidate("program", "def prune_layer(W, stats, budget, params): ...")
    assert Recipe(program).scoring == "sequential" == replace(RECIPE, metric=program).scoring
    assert Recipe(program, scoring="true-sequential").scoring == "true-sequential"
    assert RECIPE.scoring == "dense"
