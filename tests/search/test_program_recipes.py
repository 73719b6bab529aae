"""Programs as parts of recipes: numbers shown as tuned, moves, judges, limits in time, repairs."""

import random
from dataclasses import replace
from pathlib import Path

from autoprune.candidate import Candidate
from autoprune.design.chat import ChatRequest
from autoprune.design.formulas import reduced
from autoprune.design.transports import ScriptedDesigner
from autoprune.recipe import Recipe
from autoprune.search import DesignerSpec, RecipeSpec, Search, SearchSpec
from autoprune.search.moves import crossed_recipe, mutated_metric, recombined
from autoprune.search.starts import given_start
from autoprune.search.steps import (
    Outcome,
    Step,
    Validate,
    Validation,
)
from tests.support.synthetic import drive, make_spec
from tests.support.synthetic_programs import PROGRAM, Programs

LAYER = Candidate("program", PROGRAM.format(power=0.5), {"power": 0.5})
BLOCK = Candidate.parse("program:ebft")
WANDA = Candidate("builtin", "wanda")
HEAD = "because: a\ngroup: row\nallocation: uniform\n"


def program_spec(**changes: object) -> SearchSpec:
    usual: dict[str, object] = {
        "language": "program",
        "designer": DesignerSpec(kind="scripted", prompt_tokens=6000, answer_tokens=2000),
        "baselines": (RecipeSpec(metric="wanda"), given_start("program:ria")),
    }
    return make_spec(**{**usual, **changes})


def written(request: ChatRequest) -> str:
    """A program with a number that depends on the question."""
    power = int(request.digest[:4], 16) / 0xFFFF * 1.4
    return (
        f"because: a\ngroup: row\nallocation: uniform\n```python\n{PROGRAM.format(power=power)}```"
    )


def test_a_program_is_shown_with_its_tuned_numbers() -> None:
    tuned = replace(LAYER, params={"power": 0.75})
    assert tuned.shown == PROGRAM.format(power=0.75)
    assert LAYER.shown == LAYER.source and WANDA.shown == "wanda"
    # Several lines, a comment behind, a whole number.
    source = 'PARAMS = {\n    "épochs": 4,  # passes\n    "rate": 0.01,\n}  # tuned\nX = 1\n'
    shown = Candidate("program", source, {"épochs": 6.0, "rate": 0.02}).shown
    assert Candidate.program(shown).params == {"épochs": 6.0, "rate": 0.02}
    assert shown.endswith("}  # tuned\nX = 1\n") and '"\\u00e9pochs": 6,' in shown


def test_prompts_show_the_numbers_that_were_measured(tmp_path: Path) -> None:
    prompts: list[str] = []

    def write(request: ChatRequest) -> str:
        prompts.append(request.messages[-1].content)
        return written(request)

    with Search.open(tmp_path, program_spec()) as search:
        drive(search, Programs(ScriptedDesigner(write)))
        tuned = [e for e in search.entries if e.operator == "tune" and e.recipe]
        nodes = search.graph.nodes
    assert tuned
    for entry in tuned:
        assert entry.recipe is not None
        assert nodes[entry.alias].body["source"] == entry.recipe.metric.shown
        changed = Candidate.program(entry.recipe.metric.shown)
        assert changed.params == entry.recipe.metric.params


def test_moves_score_as_the_metric_needs() -> None:
    program = Recipe(LAYER, "row", "ramp:half_width=0.1")
    formula = Recipe(WANDA, "row", "uniform")
    assert recombined(formula, program).scoring == "dense"
    assert recombined(program, formula).scoring == "sequential"
    for seed in range(20):
        crossed = crossed_recipe(program, formula, random.Random(seed))
        assert (crossed.metric.kind == "program") == (crossed.scoring == "sequential")
    found = mutated_metric(program, random.Random(1), make_spec().choices)
    assert found.metric.kind == "expression" and found.scoring == "dense"


def test_the_first_definition_in_a_loop_is_no_line_to_leave_out() -> None:
    dropped = [one.dropped for one in reduced(Candidate.parse("program:sparsegpt"))]
    assert dropped and not any(
        line.startswith(("stop =", "keep =", "errors =")) for line in dropped
    )
    loop = (
        "def prune_layer(W, stats, budget, params):\n"
        "    for step in range(3):\n"
        "        scale = W.abs()\n"
        "        W = W * scale\n"
        "    return W\n"
    )
    found = [one.dropped for one in reduced(Candidate("program", loop))]
    assert "scale = W.abs()" not in found and "W = W * scale" in found


def test_a_search_of_programs_offers_only_repairs_that_one_may_have() -> None:
    spec = program_spec(repair_choices=("none", "sparsegpt", "ebft:epochs=2", "mrp"))
    assert set(spec.choices.repairs) == {"none", "ebft:epochs=2"}
    kept = program_spec(repair_choices=("none", "sparsegpt"), baselines=(
        RecipeSpec(metric="wanda"), RecipeSpec(metric="wanda", repair="sparsegpt")
    ))  # fmt: skip
    assert [made.repair for made in kept.hand_made()] == [None, "sparsegpt"]


def test_a_failed_program_comes_back_whole(tmp_path: Path) -> None:
    asked: list[ChatRequest] = []
    end = "# the last line\n"

    def write(request: ChatRequest) -> str:
        asked.append(request)
        body = "    # a comment of some length, so that the program has many characters\n" * 20
        source = PROGRAM.format(power=0.5).replace("    score = W", body + "    score = V", 1)
        return HEAD + f"```python\n{source}{end}```"

    class Broken(Programs):
        def answer(self, step: Step) -> Outcome:
            recipe = getattr(step, "recipe", None)
            source = recipe.metric.source if recipe is not None else ""
            if isinstance(step, Validate) and "V.abs" in source:
                return Validation(False, "exception", "line 26: NameError: name 'V' is not defined")
            return super().answer(step)

    with Search.open(tmp_path, program_spec()) as search:
        drive(search, Broken(ScriptedDesigner(write)))
    again = [r for r in asked if len(r.messages) > 2 and "NameError" in r.messages[-1].content]
    assert again and all(end in request.messages[-2].content for request in again)
