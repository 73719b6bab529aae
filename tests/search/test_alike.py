"""What counts as the same recipe, and what a search does with recipes that look alike."""

from dataclasses import replace
from pathlib import Path

import pytest

from autoprune.candidate import Candidate, Group
from autoprune.design.equivalence import differs_elsewhere
from autoprune.design.parts import Choices
from autoprune.design.transports import ScriptedDesigner
from autoprune.recipe import Recipe
from autoprune.search import DesignerSpec, Search, SearchBudget
from autoprune.search.catalogue import catalogue
from autoprune.search.moves import recipe_key, take
from autoprune.search.steps import Done, Measure, Measurement, Outcome, Step
from autoprune.search.tuning import _structure, numbers, suggest
from tests.support.synthetic import OneSignature, Synthetic, drive, make_spec
from tests.support.synthetic_schemes import Shapes

CHOICES = Choices(("row", "matrix"), ("uniform",), ("none",))
CLAMPED = "def score(W, stats, params) -> object:\n    return W.abs(){}\n"


def formula(text: str, group: Group = "row", allocation: str = "uniform") -> Recipe:
    return Recipe(Candidate("expression", text), group, allocation)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (formula("abs(W) * x_norm"), False),
        (formula("abs(W) * max(x_norm, 0.02)"), True),
        (formula("clip(abs(W), 0, 1) * x_norm"), True),
        (formula("abs(W)", "block"), True),
        (Recipe(Candidate("python", CLAMPED.format(""))), False),
        (Recipe(Candidate("python", CLAMPED.format(".clamp(min=0.1)"))), True),
        (Recipe(Candidate("python", CLAMPED.format(" * (W > 0)"))), True),
        (Recipe(Candidate("python", CLAMPED.format(" / torch.max(W, W.mean())"))), True),
        (Recipe(Candidate("python", CLAMPED.format(" / max(W.mean(), W.std())"))), True),
        (Recipe(Candidate("python", CLAMPED.format(" / torch.max(W)  # significant"))), False),
        (Recipe(Candidate("python", CLAMPED.format(" / W.amax(1, keepdim=True).max()"))), False),
        (Recipe(Candidate("python", CLAMPED.format(" * stats['position']['depth']"))), True),
    ],
)
def test_limits_groups_and_code_may_differ_elsewhere(recipe: Recipe, expected: bool) -> None:
    assert differs_elsewhere(recipe) == expected


def test_a_limit_that_probe_layers_never_meet_is_measured(tmp_path: Path) -> None:
    texts = ("abs(W) * max(x_norm, 0.02) * x_max", "abs(W) * x_norm ** 0.7 * x_max")
    answers = [f"because: a try\nmetric: {text}\ngroup: matrix\n" for text in texts]
    designer = ScriptedDesigner(lambda request: answers[request.seed % 2])
    spec = make_spec(
        arm="list", designer=DesignerSpec(kind="scripted"), budget=SearchBudget(candidates=8),
        repair_calls=0,
    )  # fmt: skip
    with Search.open(tmp_path, spec) as search:
        drive(search, OneSignature(designer))
        made = [e for e in search.entries if e.order and not e.is_baseline and e.recipe]
    limited, plain = (next(e for e in made if part in e.formula) for part in ("max(x_", "0.7"))
    assert limited.results and not limited.duplicate_of
    assert plain.status == "duplicate"


def test_known_masks_cost_no_evaluation(tmp_path: Path) -> None:
    """The same masks under other names, which only the whole model shows."""
    texts = ("abs(W) * max(x_norm, 0.02) * x_max", "abs(W) * max(x_norm, 0.01) * x_max")

    class Same(Synthetic):
        def answer(self, step: Step) -> Outcome:
            found = super().answer(step)
            if isinstance(step, Measure) and isinstance(found, Measurement) and step.recipe:
                limited = "max(x_norm" in step.recipe.metric.source
                return replace(found, mask_digest="one") if limited else found
            return found

    answers = [f"because: a try\nmetric: {text}\ngroup: matrix\n" for text in texts]
    designer = ScriptedDesigner(lambda request: answers[request.seed % 2])
    spec = make_spec(
        arm="list", designer=DesignerSpec(kind="scripted"), repair_calls=0,
        budget=SearchBudget(evaluations=6, candidates=8),
    )  # fmt: skip
    with Search.open(tmp_path, spec) as search:
        drive(search, Same(designer))
        made = [e for e in search.entries if e.order and not e.is_baseline and e.recipe]
        limited = [e for e in made if "max(x_norm" in e.formula and e.results]
        assert [e.status for e in limited].count("measured") == 1 and len(limited) > 1
        assert search.spent.evaluations == sum(e.status == "measured" for e in made)


def test_constants_that_changed_places_are_not_one_structure() -> None:
    one = formula("abs(W) * x_norm ** {a:0.5} * x_max ** {b:2}")
    other = formula("abs(W) * x_max ** {a:1.5} * x_norm ** {b:0.6}")
    assert _structure(one, CHOICES) != _structure(other, CHOICES)
    assert _structure(one, CHOICES) == _structure(formula(
        "abs(W) * x_norm ** {a:0.9} * x_max ** {b:1}"
    ), CHOICES)  # fmt: skip


def test_the_largest_constant_is_tuned_within_what_a_formula_may_hold() -> None:
    largest = formula("abs(W) * x_norm + {a:1000000}")
    assert numbers(largest, CHOICES)["metric.a"] == (1e6, (2.5e5, 1e6))
    for seed in range(9):
        suggest(largest, CHOICES, [], seed)


def test_a_small_space_of_schemes_is_tuned_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.search.sampling.ATTEMPTS", 1)
    spec = make_spec(
        schemes=("depth:patch=none",), arm="tuned", repair_choices=("none",),
        designer=DesignerSpec(), budget=SearchBudget(candidates=400), slots=4,
    )  # fmt: skip
    with Search.open(tmp_path, spec) as search:
        assert drive(search, Shapes()) == Done("exhausted")
        known = {recipe_key(e.known_recipe) for e in search.entries if e.recipe is not None}
    assert known >= {recipe_key(recipe) for recipe in catalogue(spec.choices)}


def test_weights_of_the_whole_model_compete_without_budgets() -> None:
    assert take(formula("abs(W)", "global"), set())
    assert not take(formula("abs(W)", "global", "ramp"), set())
