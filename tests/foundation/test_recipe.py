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
        replace(RECIPE, solver="none"),
    ]
    assert len({recipe.digest for recipe in [RECIPE, *others]}) == 5
