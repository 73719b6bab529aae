"""What the questions of a search ask for: each once, what is read, against whom, how many more."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from autoprune.design.chat import ChatRequest
from autoprune.design.claims import prediction_of
from autoprune.design.transports import ScriptedDesigner
from autoprune.search import DesignerSpec, Search, SearchBudget, planning
from autoprune.search.budget import generation_in_words, generations_left
from autoprune.search.operators import Plan
from autoprune.search.planning import plan_generation
from autoprune.search.spec import SearchSpec
from autoprune.search.state import SearchState
from autoprune.search.steps import Done, Measurement, Outcome, Propose, Step
from tests.support.synthetic import Synthetic, drive, make_spec, write_answer

BAR = re.compile(r"To beat: (\S+)\.")
WIDE = DesignerSpec(kind="scripted", prompt_tokens=4000)
RECIPE = "metric: abs(W) * sqrt({})\ngroup: row\nallocation: uniform\nrepair: none\n"


def played(folder: Path, spec: SearchSpec, answer=write_answer) -> list[ChatRequest]:  # type: ignore[no-untyped-def]
    designer = ScriptedDesigner(answer)
    with Search.open(folder, spec) as search:
        drive(search, Synthetic(designer))
    return designer.requests


def test_the_named_recipe_decides_and_one_that_is_not_measured_is_named_on_record(
    tmp_path: Path,
) -> None:
    words = iter(["-1 % against magnitude", "-2 % against C77", "-3 % against the best", "-4 %"])
    names = iter(["x_norm", "x_max", "x_var", "x_norm * x_max"])

    bars = []

    def answer(request: ChatRequest) -> str:
        bars.extend(BAR.findall(request.messages[1].content))
        return f"because: why not\nexpect: {next(words)}\n{RECIPE.format(next(names))}"

    spec = make_spec(arm="list", slots=1, repair_calls=0, budget=SearchBudget(candidates=4))
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic(ScriptedDesigner(answer)))
        made = [entry for entry in search.entries if entry.order]
        claims = [search.graph.nodes[f"{entry.alias}.h"] for entry in made]
    versus = [entry.prediction.versus for entry in made if entry.prediction]
    assert versus == ["magnitude", *bars[1:]]
    assert prediction_of(claims[0]) == "-1 % against magnitude"
    assert prediction_of(claims[1]) == f"-2 % against {versus[1]} (C77 is no measured recipe)"
    # Records without a name in vain are as they were.
    assert ["unknown" in node.body["prediction"] for node in claims] == [False, True, False, False]


def test_a_repaired_answer_is_graded_against_the_recipe_that_its_question_named(
    tmp_path: Path,
) -> None:
    asked_before = Counter[str]()

    def answer(request: ChatRequest) -> str:
        question = request.messages[1].content
        asked_before[question] += 1
        # The bar moves while the answer is repaired for the second time.
        if asked_before[question] < 3:
            return "metric:"
        return re.sub(r"expect: .*", "expect: -1 %", write_answer(request))

    spec = make_spec(repair_calls=2, budget=SearchBudget(evaluations=16))
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic(ScriptedDesigner(answer)))
        asked = {
            step["step_id"].rpartition(".")[0]: BAR.findall(
                step["request"]["messages"][1]["content"]
            )
            for step in (event["step"] for event in search.history())
            if step["step_id"].endswith(".a2")
        }
        found = {
            f"g{e.generation}.s{e.slot}": [e.prediction.versus]
            for e in search.entries
            if e.prediction
        }
    assert found and all(asked[name] == versus for name, versus in found.items())


@pytest.mark.parametrize("fitness", ["kl", "both"])
def test_the_bar_is_the_best_of_the_search_and_forecasts_are_of_perplexity(
    tmp_path: Path, fitness: str
) -> None:
    class Contrary(Synthetic):
        """What comes nearer to the dense model has the higher perplexity."""

        def answer(self, step: Step) -> Outcome:
            found = super().answer(step)
            if isinstance(found, Measurement):
                found = replace(found, kl=tuple(20.0 - 3.0 * nats for nats in found.nll))
            return found

    spec = make_spec(
        arm="graph", fitness=fitness, repair_calls=0, budget=SearchBudget(evaluations=24)
    )
    driver, bars = Contrary(), []
    with Search.open(tmp_path, spec) as search:
        archive = search._loop.archive
        while not isinstance(step := search.next_step(), Done):
            if isinstance(step, Propose) and step.operator == "propose":
                text, best = step.request.messages[1].content, archive.best()
                assert best is not None and BAR.findall(text) == [best.alias]
                assert "worst first by " in text and "the distance (KL) to the dense model" in text
                bars.append(best.alias)
            search.record(step, driver.answer(step))
        # By then intervals are known: they are those of each change against the reference.
        assert re.search(r"\(each give or take [\d.]+ %; differences between recipes", text)
        graded = 0
        for entry in search.entries:
            judged = search.graph.judgements(f"{entry.alias}.h")
            if entry.prediction is None or entry.duplicate_of or not judged:
                continue
            versus = archive[entry.prediction.versus]
            found = archive.compare(entry, versus, fitness="perplexity")
            assert found is not None
            right = found.verdict == entry.prediction.direction
            assert [edge.kind for edge in judged] == ["supports" if right else "refutes"]
            graded += 1
    assert graded > 3 and len(set(bars)) > 1


@pytest.mark.parametrize("repairs", [("none",), ("none", "mrp")])
def test_one_repair_alone_is_asked_for_neither_by_the_form_nor_by_the_schema(
    tmp_path: Path, repairs: tuple[str, ...]
) -> None:
    spec = make_spec(
        designer=WIDE, arm="list", repair_choices=repairs, budget=SearchBudget(candidates=2)
    )
    first = played(tmp_path, spec)[0]
    several = len(repairs) > 1
    assert first.schema is not None and first.grammar is not None
    assert ("repair" in first.schema["required"]) == several
    assert ("repair: " in first.grammar) == several
    system = first.messages[0].content
    assert ("leaves the other weights" in system, "repair" in system) == (several, several)


def test_at_a_pattern_questions_name_it_and_ask_for_what_can_be_chosen(tmp_path: Path) -> None:
    spec = make_spec(
        designer=WIDE,
        arm="list",
        sparsity=0.5,
        pattern="2:4",
        repair_choices=("none", "mrp"),
        budget=SearchBudget(candidates=30),
    )
    first, *others = played(tmp_path, spec)
    # No idea speaks of groups, which decide nothing there.
    assert len(others) > 12 and not any("group" in r.messages[1].content for r in others)
    system, question = (message.content for message in first.messages)
    assert "Pattern 2:4: of every 4 neighbours in a row exactly 2 go." in system
    assert "Measured at 2:4, change of perplexity" in question
    form = system.partition("Answer form:")[2]
    asked = [line.partition(":")[0] for line in form.strip().splitlines()]
    assert asked[:4] == ["because", "expect", "metric", "repair"]
    assert "Take repair from the best line" in form and "group" not in form
    assert first.schema is not None and first.grammar is not None
    assert first.schema["required"] == ["because", "expect", "metric", "repair"]
    assert not re.search("group|allocation", first.grammar)


def test_one_generation_asks_the_same_of_the_same_pair_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = iter([("a", "b"), ("a", "b"), ("b", "a"), ("a", "c"), *[("c", "a")] * 40])

    def make(self: object, slot: int, operator: str, rng: Random) -> Plan | None:
        if operator == "combine":
            return Plan(slot, operator, next(pairs), f"idea {rng.random()}")
        return Plan(slot, operator, ("a",), "the same idea", part="metric")

    with Search.open(tmp_path, make_spec()) as search:
        drive(search, Synthetic(), stop=lambda count: bool(search.archive.reference_entry()))
        state = search._loop.state
        monkeypatch.setattr(planning._Planner, "_make", make)
        monkeypatch.setattr(planning, "FREE_OPERATORS", ())
        monkeypatch.setattr(planning, "DESIGN_OPERATORS", ("combine", "explore"))
        state.bandit = replace_bandit(state)
        plans = plan_generation(state, 2, 6, [], set())
    asked = [(plan.operator, tuple(sorted(plan.parents))) for plan in plans if not plan.recipe]
    assert sorted(asked) == [("combine", ("a", "b")), ("combine", ("a", "c")), ("explore", ("a",))]
    # The other slots have a recipe of the search's own.
    assert len(plans) == 6 and sum(plan.recipe is not None for plan in plans) == 3


def replace_bandit(state: SearchState):  # type: ignore[no-untyped-def]
    """One that takes the first that is left."""

    class First:
        def choose(self, arms: tuple[str, ...], planned: object) -> str:
            return arms[0]

    return First()


def test_a_question_says_which_generation_it_is_and_whether_numbers_are_tuned_later(
    tmp_path: Path,
) -> None:
    spec = make_spec(designer=WIDE, slots=4, repair_calls=0, budget=SearchBudget(candidates=12))
    asked = [r for r in played(tmp_path, spec) if "lesson:" not in r.messages[-1].content]
    lines = [r.messages[1].content.partition("Left:")[0].splitlines()[-1].strip() for r in asked]
    assert list(dict.fromkeys(lines)) == [
        "Generation 1 of about 3.",
        "Generation 2 of about 3.",
        "Generation 3, which may be the last.",
    ]
    tuned = [
        ("tunes numbers" in r.messages[0].content, line)
        for r, line in zip(asked, lines, strict=True)
    ]
    assert all(named == ("may be the last" not in line) for named, line in tuned)
    explores = [r for r in asked if "unlike all of these" in r.messages[1].content]
    three = "because, expect, metric. Only the metric is read; the rest stays that of "
    assert explores and all(three in r.messages[1].content for r in explores)


def test_generations_left_are_counted_by_the_limit_that_ends_first(tmp_path: Path) -> None:
    def left(done: int, used: tuple[int, int], **limits: object) -> int:
        state = SearchState(make_spec(slots=4, budget=SearchBudget(**limits)), search.archive)  # type: ignore[arg-type]
        state.generation = done
        state.spent = replace(state.spent, candidates=used[0], evaluations=used[1])
        assert ("may be the last" in generation_in_words(state)) == (generations_left(state) == 1)
        return generations_left(state)

    with Search.open(tmp_path, make_spec()) as search:
        assert left(0, (0, 0), candidates=14) == 4
        assert left(2, (10, 0), candidates=14) == 1
        assert left(2, (10, 4), candidates=320, evaluations=16) == 6
        assert left(4, (20, 14), candidates=320, evaluations=16) == 1
