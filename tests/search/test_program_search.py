"""A search whose designer writes programs: answers, duplicates, operators without a designer."""

import re
from pathlib import Path

import pytest

from autoprune.candidate import Candidate
from autoprune.design.chat import ChatRequest, Reply, Usage
from autoprune.design.formulas import formula_text, reduced, text_key
from autoprune.design.parsing import AnswerForm, Proposal, Unreadable, read_answer
from autoprune.design.parts import with_proxy
from autoprune.design.transports import ScriptedDesigner
from autoprune.errors import UsageError
from autoprune.program_files import CATALOGUE, program_source, prunes_blocks
from autoprune.programs.manual import SHOWN, manual
from autoprune.recipe import Recipe
from autoprune.search import DesignerSpec, RecipeSpec, Search, SearchSpec
from autoprune.search.costs import Costs
from autoprune.search.moves import take
from autoprune.search.starts import given_start
from autoprune.search.steps import Done
from autoprune.search.tuning import numbers, suggest
from tests.support.synthetic import drive, make_spec
from tests.support.synthetic_programs import PROGRAM, Programs

FORM = AnswerForm(
    "program",
    ("row", "matrix", "global"),
    ("uniform",),
    ("wanda",),
    repairs=("none", "mrp", "ebft"),
)


def answered(body: str) -> Proposal | Unreadable:
    return read_answer(Reply(body, "stop", Usage(1, 1)), FORM)


def code(source: str, lines: str = "") -> str:
    return f"because: norms\nexpect: better than wanda\n{lines}```python\n{source}```\n"


def test_an_answer_may_be_a_program() -> None:
    found = answered(code(PROGRAM.format(power=0.5)))
    assert isinstance(found, Proposal)
    assert found.candidate.kind == "program" and found.candidate.params == {"power": 0.5}
    assert found.recipe.scoring == "sequential" and found.recipe.repair == "none"
    assert Recipe.from_json(found.recipe.to_json()) == found.recipe
    tuned = answered(code(PROGRAM.format(power=0.5), "repair: ebft\ngroup: matrix\n"))
    assert isinstance(tuned, Proposal) and tuned.recipe.group == "matrix"


def test_an_answer_may_be_a_block_program() -> None:
    source = program_source("ebft")
    found = answered(code(source))
    assert isinstance(found, Proposal)
    assert found.candidate.params == {"epochs": 4.0, "rate": 0.01}
    assert found.recipe.scoring == "sequential" and prunes_blocks(found.candidate.source)
    wrong = answered(code(source.replace("inputs, targets, budget, params):", "inputs, params):")))
    assert (
        isinstance(wrong, Unreadable) and "block, inputs, targets, budget, params" in wrong.detail
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("because: x\nmetric: abs(W)\n", "write the program"),
        (code("def score(W, stats, params):\n    return W\n"), "exactly one function prune_layer"),
        (code("def prune_layer(W, stats, params):\n    return W\n"), "exactly the arguments"),
        (code(PROGRAM.format(power="1 / 0")), "finite numbers by name"),
        (code(PROGRAM.format(power="1e308")), "at most 1e+12 in size"),
        (code(PROGRAM.format(power=1), "repair: mrp\n"), "repair is none or ebft"),
        (code(PROGRAM.format(power=1), "group: global\n"), "group is row or matrix"),
    ],
)
def test_what_is_no_program_is_refused_with_a_remedy(body: str, words: str) -> None:
    found = answered(body)
    assert isinstance(found, Unreadable) and words in found.detail


def test_programs_that_differ_in_names_and_comments_are_one_and_numbers_make_them_two() -> None:
    one = Candidate("program", PROGRAM.format(power=0.5), {"power": 0.5})
    source = one.source.replace("score", "worth").replace("    return", "    # so\n    return")
    assert text_key(one) == text_key(Candidate("program", source, {"power": 0.5}))
    assert text_key(one) != text_key(Candidate("program", one.source, {"power": 0.6}))
    assert formula_text(one) == one.text and one.text.startswith("program:")


def test_a_line_is_left_out_where_its_names_are_bound_before() -> None:
    program = Candidate("program", PROGRAM.format(power=0.5), {"power": 0.5})
    assert [smaller.dropped for smaller in reduced(program)] == [
        "score = score * stats['x_norm'] ** params['power']"
    ]
    for path in CATALOGUE.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        for smaller in reduced(Candidate("program", source)):
            compile(smaller.candidate.source, path.name, "exec")
            assert smaller.dropped in source


def test_declared_constants_are_tuned_and_impossible_recipes_are_not_taken() -> None:
    choices = make_spec().choices
    program = Candidate("program", PROGRAM.format(power=0.5), {"power": 0.5})
    recipe = Recipe(program)
    assert numbers(recipe, choices) == {"metric.power": (0.5, (0.125, 2.0))}
    other = suggest(recipe, choices, [], seed=1)
    assert other.metric.source == program.source and other.metric.params != program.params
    source = program.source.replace('"power": 0.5', '"power": 0.5, "rounds": 3')
    whole = Recipe(Candidate.program(source))
    tried = [suggest(whole, choices, [], seed=seed).metric.params for seed in range(9)]
    assert all(params["rounds"].is_integer() for params in tried)
    assert len({params["rounds"] for params in tried}) > 1
    assert not any(params["power"].is_integer() for params in tried)
    assert take(recipe, set())
    assert not take(Recipe(program, "global"), set())
    assert not take(Recipe(program, repair="mrp"), set())
    assert with_proxy(Recipe(program, repair="ebft"), "mrp").repair == "none"


def test_the_prompt_holds_the_contract_and_the_toolbox() -> None:
    for name in SHOWN:
        assert name in manual()
    assert "autoprune validate" not in manual()


def test_a_start_may_be_a_program_and_keeps_its_text(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(PROGRAM.format(power=0.5))
    start = given_start(f"program:{file}+matrix")
    file.write_text(PROGRAM.format(power=0.9))
    program = Candidate("program", PROGRAM.format(power=0.5), {"power": 0.5})
    assert start.recipe("none") == Recipe(program, "matrix")
    spec = make_spec(starts=(start,))
    assert SearchSpec.recorded(spec.to_json()) == spec
    assert "source" not in make_spec().to_json()["baselines"][0]
    with pytest.raises(UsageError, match="leave out sequential"):
        given_start("wanda+sequential")


def test_the_prompt_states_the_text_and_the_limit_of_a_search(tmp_path: Path) -> None:
    limited = make_spec(language="program", calibration_windows=16, seqlen=256, program_seconds=9)
    assert limited.digest != limited.model_copy(update={"program_seconds": None}).digest
    assert "program_seconds" not in make_spec().to_json()
    prompts: list[str] = []

    def write(request: ChatRequest) -> str:
        prompts.append(request.messages[0].content)
        return code(PROGRAM.format(power=0.2))

    spec = limited.model_copy(
        update={"designer": DesignerSpec(kind="scripted", prompt_tokens=6000, answer_tokens=2000)}
    )
    with Search.open(tmp_path, spec) as search:
        drive(search, Programs(ScriptedDesigner(write)))
    assert "16 windows of 256 tokens" in prompts[0]
    assert "where the times above allow more: 9 s of the processor for one call" in prompts[0]


def test_a_program_may_be_tried_on_three_blocks_before_it_counts(tmp_path: Path) -> None:
    committed: list[float] = []

    def write(request: ChatRequest) -> str:
        if "you may once try a program" in request.messages[-1].content:
            power = 2.0 if "Improve" in request.messages[-1].content else 0.3
            return f"try\n{code(PROGRAM.format(power=power))}"
        committed.append(0.6 + 0.1 * len(committed))
        return code(PROGRAM.format(power=committed[-1]))

    spec = make_spec(
        language="program",
        designer=DesignerSpec(kind="files", prompt_tokens=6000, answer_tokens=2000),
        baselines=(RecipeSpec(metric="wanda"), given_start("program:ria")),
    )
    driver = Programs(ScriptedDesigner(write))
    with Search.open(tmp_path, spec) as search:
        assert drive(search, driver) == Done("candidates")
        history, nodes = search.history(), search.graph.nodes
        powers = [e.recipe.metric.params.get("power") for e in search.entries if e.recipe]
    tried = [e["step"] for e in history if e["step"]["step_id"].endswith(".tried")]
    replies = [step["request"]["messages"][-1]["content"] for step in tried]
    assert any("a program (norms) by row: error 0.03 on real layers, 9 s" in r for r in replies)
    assert any("wrong_budget q_proj: 9 of 99 weights" in r for r in replies)
    assert all("this or a better one" in r and "wanda has" not in r for r in replies)
    assert "; how well it ranks programs is not known yet. Now" in replies[0]
    trust = "; so far it ranked [0-9]+ programs as .* with rank correlation 1.00, those of one"
    assert any(re.search(trust, r) for r in replies)
    # What was only tried is an observation and no candidate.
    assert 0.3 not in powers and 2.0 not in powers and 0.6 in powers
    name = tried[0]["step_id"].removesuffix(".tried") + ".t0"
    assert nodes[name].kind == "observation"


def test_a_search_over_programs_runs_to_its_end(tmp_path: Path) -> None:
    prompts: list[str] = []

    def write(request: ChatRequest) -> str:
        prompts.append(request.messages[0].content + request.messages[-1].content)
        return code(PROGRAM.format(power=(0.2, 0.4, 2.0, 0.6, 0.4)[len(prompts) % 5]))

    spec = make_spec(
        language="program",
        designer=DesignerSpec(kind="scripted", prompt_tokens=6000, answer_tokens=2000),
        baselines=(RecipeSpec(metric="wanda"), RecipeSpec(metric="program:ria", repair="none")),
    )
    driver = Programs(ScriptedDesigner(write))
    with Search.open(tmp_path, spec) as search:
        assert drive(search, driver) == Done("candidates")
        entries = search.entries
        best = search.best
        # What one costs is learned from those that are on record, and not taken for a repair.
        costs = Costs(spec, search.archive)
        assert costs.plain() < 9.0 and costs.repair("none") == 0.0
        # Those that raced took two measurements.
        assert 9.0 <= costs.program() + costs.plain() <= 18.0
    programs = [e for e in entries if e.recipe and e.recipe.metric.kind == "program"]
    assert any(e.alias == "program:ria" for e in programs)
    assert best is not None and best.recipe is not None and best.recipe.metric.kind == "program"
    assert {e.code for e in programs} >= {"wrong_budget", "duplicate"}
    assert {"tune", "ablate"} & {e.operator for e in programs}
    assert "def prune_block(block, inputs, targets, budget, params)" in prompts[0]
    assert "topk(scores, budget)" in prompts[0] and "Functions:" not in prompts[0]
    assert any("wrong_budget" in prompt for prompt in prompts)
    # What a program costs and how it fared on text that it did not see.
    assert any(", 9 s, error of three blocks 0.0300" in prompt for prompt in prompts)
    brief = "program:[0-9a-f]+, layer program of [0-9]+ lines: topk \\| row"
    assert any(re.search(brief, prompt) for prompt in prompts)
    # Where no program is the subject, the best one is shown as code.
    unlike = [prompt for prompt in prompts if "works unlike all of these" in prompt]
    assert unlike and all("The best so far, " in prompt for prompt in unlike)
    # What an operator works on is shown as code, in words for programs.
    assert any("score = score * stats['x_norm']" in prompt for prompt in prompts)
    words = ("its metric", "both formulas", "write a formula", "Change one term")
    assert not any(word in prompt for prompt in prompts for word in words)
