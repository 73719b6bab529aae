"""Programs as parts of recipes: numbers shown as tuned, moves, judges, limits in time, repairs."""

import random
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from autoprune.candidate import Candidate
from autoprune.design.chat import ChatRequest
from autoprune.design.formulas import reduced
from autoprune.design.transports import ScriptedDesigner
from autoprune.program_files import program_source
from autoprune.recipe import Recipe
from autoprune.search import DesignerSpec, RecipeSpec, Search, SearchBudget, SearchSpec
from autoprune.search.deadline import UNFINISHED
from autoprune.search.features import features_of
from autoprune.search.judges import outcome_of
from autoprune.search.moves import crossed_recipe, mutated_metric, recombined
from autoprune.search.sentinels import DRIFT, ROUNDED_DRIFT, allowed_drift
from autoprune.search.starts import given_start
from autoprune.search.steps import (
    Done,
    Failed,
    Measure,
    Measurement,
    Outcome,
    Seal,
    Sealed,
    Step,
    Validate,
    Validation,
)
from tests.support.synthetic import OneSignature, drive, make_spec
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


def test_recipes_far_ahead_are_distinguished(tmp_path: Path) -> None:
    @dataclass
    class Strong(Programs):
        def answer(self, step: Step) -> Outcome:
            found = super().answer(step)
            recipe = getattr(step, "recipe", None)
            is_program = recipe is not None and recipe.metric.kind == "program"
            if isinstance(step, Measure) and isinstance(found, Measurement) and is_program:
                return replace(found, nll=tuple(value - 1.5 for value in found.nll))
            return found

    with Search.open(tmp_path, program_spec(judge="on")) as search:
        drive(search, Strong(ScriptedDesigner(written)))
        whole = [
            e for e in search.entries if e.is_program and 2 in e.results and not e.duplicate_of
        ]
        outcomes = [outcome_of(search.archive, entry) for entry in whole]
    assert len(whole) > 2 and outcomes == [entry.score for entry in whole]
    assert all(value is not None and value < -1.0 for value in outcomes)
    assert len(set(outcomes)) > 1


def test_errors_of_programs_and_of_masks_are_features_of_their_own() -> None:
    assert "error of blocks" in features_of(Recipe(LAYER), 0.9)
    assert "error" in features_of(Recipe(WANDA), 0.9)
    assert "error of blocks" not in features_of(Recipe(WANDA), 0.9)


def test_a_block_program_may_move_as_far_as_block_tuning() -> None:
    assert allowed_drift(Recipe(BLOCK)) == ROUNDED_DRIFT
    assert allowed_drift(Recipe(LAYER)) == DRIFT == allowed_drift(None)
    rounded = [allowed_drift(made, "bfloat16") for made in (None, Recipe(LAYER))]
    assert rounded == [ROUNDED_DRIFT] * 2
    assert allowed_drift(Recipe(BLOCK), "bfloat16") == ROUNDED_DRIFT


def test_a_program_that_reads_its_position_is_judged_on_the_whole_model(tmp_path: Path) -> None:
    source = PROGRAM.format(power=0.5).replace(
        "    return", "    score = score + stats['position']['depth']\n    return"
    )

    class Alike(OneSignature, Programs):
        """Programs, of which a few layers tell none apart."""

    file = tmp_path / "early.py"
    file.write_text(source)
    starts = (given_start("program:ria"), given_start(f"program:{file}"))
    spec = program_spec(baselines=(RecipeSpec(metric="wanda"), *starts))
    with Search.open(tmp_path / "run", spec) as search:
        drive(search, Alike(ScriptedDesigner(lambda request: "nothing")))
        programs = [e for e in search.entries if e.is_program and e.is_baseline]
    assert len(programs) == 2 and all(2 in e.results and not e.duplicate_of for e in programs)


@pytest.mark.parametrize("limit", [700.0, 1000.0, 1300.0, 1600.0])
def test_a_program_that_cannot_end_in_time_does_not_begin(tmp_path: Path, limit: float) -> None:
    cost = 120.0

    class Timed(Programs):
        def within(self, step: Step, seconds: float) -> Outcome:
            found = self.answer(step)
            recipe = getattr(step, "recipe", None)
            if isinstance(step, Measure) and recipe is not None:
                took = 1.5 * (step.windows - step.known)
                share = (step.calibration or 16) / 16
                took += share * cost if recipe.metric.kind == "program" else 0.0
                if took > seconds:
                    return Failed(UNFINISHED, "stopped", seconds)
                assert isinstance(found, Measurement)
                return replace(found, seconds=took)
            if isinstance(step, Seal):
                assert isinstance(found, Sealed)
                # The winner, which comes first, was pruned again just before.
                others = [recipe for _, recipe in step.recipes[1:]]
                programs = sum(recipe.metric.kind == "program" for recipe in others)
                return replace(found, seconds=6.0 + cost * programs)
            if isinstance(step, Validate) and isinstance(found, Validation):
                return replace(found, seconds=1.0)
            return found

    budget = SearchBudget(candidates=200, seconds=limit)
    spec = program_spec(budget=budget, draws=1)
    stopped = []
    with Search.open(tmp_path, spec) as search:
        while not isinstance(step := search.next_step(), Done):
            found = Timed(ScriptedDesigner(written)).within(step, search.seconds_for(step))
            if isinstance(found, Failed) and found.code == UNFINISHED and found.seconds > 0.0:
                stopped.append(step.step_id)
            search.record(step, found)
        assert search.finished == "seconds"
        assert search.spent.seconds <= 1.06 * limit
    assert stopped == []


def test_the_catalogue_declares_what_it_is_shown_with() -> None:
    for name in ("ebft", "sparsegpt", "alps"):
        program = Candidate.parse(f"program:{name}")
        assert program.shown == program_source(name)
        assert Candidate.program(program.shown) == program
