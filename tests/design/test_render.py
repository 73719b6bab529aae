"""Prompts are a pure function of the graph, within a budget, and overridable."""

import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.design.detail import Detail, fit, in_percent
from autoprune.design.graph import Graph
from autoprune.design.prompts import Prompts
from autoprune.design.render import Focus, Rendered, Scene, estimate_tokens, render_prompt
from autoprune.design.repairs import example
from autoprune.design.sections import neighbours, waiting
from autoprune.errors import UsageError
from autoprune.search import Search, SearchSpec
from tests.support.synthetic import make_spec

GOLDEN = Path(__file__).parent / "golden"
# Set it to write the golden files anew, then read what changed.
REWRITE = bool(os.environ.get("AUTOPRUNE_REWRITE_GOLDEN"))
PROMPTS = Prompts()
SPEC = SearchSpec(model="m", corpus="c")
REPAIRS = ("none", "sparsegpt", "mrp", "mrp:select=own", "walk:mrp")
OPERATORS = (
    "seed",
    "explore",
    "exploit",
    "simplify",
    "combine",
    "critique",
    "paradigm",
    "reflect",
    "propose",
)
FORM = "formula:0.1 * depth - 0.05 * tail"
PARTS = ("metric", "allocation", "repair", "group")


def scene(budget: int = SPEC.designer.prompt_tokens, **changes: object) -> Scene:
    """What a search with the usual settings shows."""
    values: dict[str, object] = {
        "language": "expression",
        "statistics": SPEC.statistics,
        "groups": SPEC.groups,
        "allocations": SPEC.allocations,
        "repairs": REPAIRS,
        "reference": "wanda",
        "percent": 60.0,
        "budget": budget,
        "allocation_forms": ["uniform", "ramp:half_width=0.1", "sdsa:strength=0.2", FORM],
        "repair_form": example(REPAIRS, {"mrp": {"damp": (0.001, 0.1)}}, Random(3)),
        "ranges": {"ramp": {"half_width": (0.0, 0.3)}, "mrp": {"damp": (0.001, 0.1)}},
    }
    return Scene(**{**values, **changes})  # type: ignore[arg-type]


def claim(graph: Graph, alias: str, because: str, versus: str = "wanda") -> None:
    """A hypothesis that the mechanism of the same name tests."""
    prediction = {"metric": "perplexity", "direction": "better", "versus": versus}
    graph.add(f"{alias}.h", "hypothesis", {"claim": because, "prediction": prediction})


def judge(graph: Graph, alias: str, node: str, *, right: bool) -> None:
    graph.link(node, "supports" if right else "refutes", f"{alias}.h")


def story(count: int = 6) -> Graph:
    """A line of recipes, each made from the one before, with everything that can go wrong."""
    graph = Graph()
    graph.add("task", "task", {})
    formulas = ["abs(W)", "abs(W) * x_norm", "abs(W) * x_norm ** {a:0.5}", "sq(W) * x_max"]
    reasons = ["inputs differ in size", "Inputs differ in size.", "rare inputs count"]
    before = ""
    for number in range(count):
        alias = "wanda" if number == 1 else f"C{number}"
        because = reasons[number % 3] if number > 1 else ""
        if because:
            claim(graph, alias, because, before)
        body = {"formula": formulas[number % 4], "group": "row", "allocation": "uniform"}
        body |= {"solver": "mrp"} if number == 5 else {"solver": "none"}
        graph.add(alias, "mechanism", {**body, "because": because})
        result = {"status": "measured", "rung": 1, "change": 0.3 - 0.1 * number, "seconds": 1.0}
        result |= {"gain": 0.1 if number != 3 else -0.1} if because else {}
        graph.add(f"{alias}.r1", "result", result)
        graph.link(f"{alias}.r1", "tests", alias)
        if because:
            graph.link(alias, "derives_from", f"{alias}.h")
            graph.link(alias, "derives_from", before)
            judge(graph, alias, f"{alias}.r1", right=number != 3)
        before = alias
    failed(graph)
    term = {"term": "x_norm", "formula": "abs(W) * x_norm", "subject": "wanda"}
    graph.add("O1", "observation", {**term, "nats": 0.262, "verdict": "worse"})
    graph.add("L1", "lesson", {"text": "large inputs matter"})
    graph.add("L2", "lesson", {"text": "squares hurt"})
    graph.link("L1", "derives_from", "C3")
    graph.link("L1", "derives_from", "wanda")
    return graph


def failed(graph: Graph) -> None:
    """Two rejections of one kind, an answer nobody can read, a rediscovery, a refused request."""
    for alias, formula in (("C90", "W / x_max"), ("C91", "W / x_norm")):
        body = {"formula": formula, "group": "row", "allocation": "sdsa", "solver": "none"}
        graph.add(alias, "mechanism", body)
        verdict = {"status": "rejected", "code": "nan_scores", "detail": "3 of 6 scores are NaN"}
        graph.add(f"{alias}.x", "result", verdict)
        graph.link(f"{alias}.x", "tests", alias)
    unreadable = {"subject": "C92", "operator": "seed", "because": ""}
    graph.add("C92", "observation", {**unreadable, "code": "bad_metric", "detail": "no value V"})
    body = {"formula": "x_norm * abs(W)", "group": "row", "allocation": "uniform"}
    graph.add("C93", "mechanism", {**body, "solver": "none"})
    graph.add("C93.x", "result", {"status": "duplicate", "code": "same as wanda"})
    graph.link("C93.x", "tests", "C93")
    refused = {**unreadable, "code": "context_too_long", "detail": "900 tokens"}
    graph.add("C94", "observation", refused)


LESSONS = {"L1": (2, 1), "L2": (0, 2)}


def rendered(
    operator: str,
    graph: Graph,
    stage: Scene,
    focus: Focus | None = None,
    prompts: Prompts = PROMPTS,
) -> Rendered:
    if focus is None:
        without = ("seed", "explore", "paradigm", "propose")
        aliases = () if operator in without else ("C3", "wanda")
        focus = Focus(aliases, "use rank(abs(W))")
    reasons = operator != "propose"
    return render_prompt(prompts, stage, graph, operator, focus, lessons=LESSONS, reasons=reasons)


def written(operator: str, graph: Graph, stage: Scene, focus: Focus | None = None) -> str:
    """The prompt as people read it, with its size, so that growth is seen in the golden files."""
    messages = rendered(operator, graph, stage, focus).messages
    sizes = [estimate_tokens(message.content) for message in messages]
    size = f"tokens: {sizes[0]} + {sizes[1]} of {stage.budget}\n"
    return size + "\n".join(f"[{m.role}]\n{m.content}" for m in messages) + "\n"


def golden(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if REWRITE:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("operator", OPERATORS)
def test_golden_prompts(operator: str) -> None:
    golden(operator, written(operator, story(), scene()))


@pytest.mark.parametrize("part", PARTS)
def test_golden_prompts_for_one_part(part: str) -> None:
    focus = Focus(("C4",), "use x_max", part, "abs(W) * ____" if part == "metric" else "")
    text = written("exploit", story(), scene(), focus)
    golden(f"exploit-{part}", text.partition("[user]\n")[2])


@pytest.mark.parametrize("operator", ["explore", "critique", "simplify"])
def test_a_question_for_the_metric_alone_says_that_no_other_part_is_read(operator: str) -> None:
    alone = "Write three lines: because, expect, metric. Only the metric is read;"
    asked = [written(operator, story(), scene(), Focus(("C4",), "", p)) for p in ("metric", None)]
    assert [alone in text for text in asked] == [True, False]


def test_golden_prompt_with_all_details() -> None:
    golden("wide", written("combine", story(), scene(1600)))


def test_formulas_of_worse_recipes_are_those_that_no_better_recipe_has() -> None:
    graph = story(8)
    for number, formula in enumerate(["sqrt(abs(W))", "abs(W) * x_norm", "W * x_max"]):
        body = {"formula": formula, "group": "row", "allocation": "uniform", "solver": "none"}
        graph.add(f"D{number}", "mechanism", {**body, "because": ""})
        result = {"status": "measured", "rung": 1, "change": 0.9 + number, "seconds": 1.0}
        graph.add(f"D{number}.r1", "result", result)
        graph.link(f"D{number}.r1", "tests", f"D{number}")
    prompt = written("propose", graph, scene(600))
    line = next(one for one in prompt.splitlines() if one.startswith("Measured too, in worse"))
    # Wanda's metric is worse with D1's budgets, and the best recipes have it.
    assert line == "Measured too, in worse recipes: sqrt(abs(W)); W * x_max"
    # What the table shows is not listed again.
    prompt = written("propose", graph, scene(6000))
    assert "Measured too" not in prompt and "D0: sqrt(abs(W))" in prompt


def test_an_exploit_is_shown_what_is_known_of_its_part() -> None:
    graph = story()
    alike = {"formula": "abs(W)", "group": "row", "solver": "none"}
    for number, allocation in enumerate(("sdsa", "formula:0.1 * depth")):
        graph.add(f"N{number}", "mechanism", {**alike, "allocation": allocation})
        graph.add(f"N{number}.r", "result", {"status": "measured", "change": -0.1 * number})
        graph.link(f"N{number}.r", "tests", f"N{number}")
    assert neighbours(graph, "C0", "allocation") == [
        *("uniform: +30.0 %", "sdsa: +0.0 %", "formula:0.1 * depth: -10.0 %", "uniform: -10.0 %")
    ]


def test_golden_prompt_for_python() -> None:
    golden("python", written("exploit", story(), scene(900, language="both")))


@pytest.mark.parametrize("lines", [0, 20, 400])
def test_code_counts_and_is_shown_whole_or_not_at_all(lines: int) -> None:
    graph = story()
    source = "def score(W, stats, params):\n" + "    W = W + 1\n" * lines + "    return W.abs()\n"
    body = {"formula": "python", "group": "row", "allocation": "uniform", "solver": "none"}
    graph.add("P1", "mechanism", {**body, "because": "it is so", "source": source})
    text = written("exploit", graph, scene(1000, language="both"), Focus(("P1",), "use x_max"))
    assert estimate_tokens(text.partition("\n")[2]) <= 1000
    assert (source in text) == (lines < 100)
    assert "W + 1" not in text or source in text
    assert "Improve P1: python" in text


def test_what_failed_is_counted_with_one_example() -> None:
    text = rendered("explore", story(), scene(2200)).messages[1].content
    assert "- nan_scores 2: W / x_norm (3 of 6 scores are NaN)" in text
    assert "- bad_metric 1: no value V" in text
    assert "- duplicate 1: x_norm * abs(W) is the same as wanda" in text
    # A designer learns nothing from what an endpoint refuses.
    assert "context_too_long" not in text


def test_reasons_show_how_often_they_were_right() -> None:
    text = rendered("explore", story(), scene(2200)).messages[1].content
    assert "Reasons tested, 3 predictions right and 1 wrong:" in text
    # Spelling does not make another reason; the newest spelling stands for all.
    assert "- Inputs differ in size: right 1, wrong 1 (C4" in text
    graded = "(C5 expected better than C4; -11.1 % against C4, -20.0 %)"
    assert f"- rare inputs count: right 2, wrong 0 {graded}" in text


def test_steps_tell_what_changed_what_was_expected_and_what_came_out() -> None:
    graph = story()
    steps = rendered("exploit", graph, scene(2000), Focus(("C5",))).messages[1].content
    steps = steps.partition("Steps so far, the last one last:\n")[2].partition("\n\n")[0]
    lines = steps.splitlines()
    assert lines[0] == "wanda: abs(W) * x_norm | row | uniform: +20.0 %"
    assert lines[-1] == (
        "C5: metric abs(W) * x_norm, repair mrp because rare inputs count; "
        "expected better than C4, right; -20.0 %"
    )
    assert "C3: metric sq(W) * x_max" in lines[2] and "expected better than C2, wrong" in lines[2]


def test_only_lessons_that_are_shown_are_named() -> None:
    wide, narrow = (rendered("seed", story(), scene(budget)) for budget in (2000, 560))
    assert wide.lessons == ("L1", "L2")
    assert "- large inputs matter (helped 2, hurt 1; C3 against wanda)" in wide.messages[1].content
    shown = [
        a
        for a, text in (("L1", "large inputs"), ("L2", "squares hurt"))
        if text in narrow.messages[1].content
    ]
    assert narrow.lessons == tuple(shown) != wide.lessons


@given(st.integers(0, 60))
def test_detail_is_lost_before_items_are(budget: int) -> None:
    items = [Detail(f"{n} full {'x ' * 9}", f"{n} line x x x", f"{n}") for n in range(4)]
    chosen = fit(items, budget, lambda text: len(text.split()))
    assert sum(len(text.split()) + 2 for text in chosen.values()) <= budget
    levels = [
        next(i for i, level in enumerate(("full", "line", "alias")) if items[n].at(level) == text)  # type: ignore[arg-type]
        for n, text in chosen.items()
    ]
    # What matters more is never shown with less, but for the last one that just fitted.
    assert levels == sorted(levels) and list(chosen) == list(range(len(chosen)))


def test_beginning_is_shared_by_the_slots_of_a_generation() -> None:
    for budget in (768, 2000):
        users = [
            rendered(operator, story(20), scene(budget)).messages[1].content
            for operator in ("explore", "critique", "exploit", "combine")
        ]
        shared = (user.rpartition("\n\n")[0] for user in users)
        beginnings = {text.partition("\nSteps so far")[0] for text in shared}
        assert len(beginnings) == 1
        assert len(beginnings.pop()) > 0.45 * max(map(len, users))


@settings(max_examples=60, deadline=None)
@given(st.integers(470, 900), st.integers(4, 40))
def test_budget_is_kept_and_the_best_comes_last(budget: int, count: int) -> None:
    graph = story(count)
    text = written("explore", graph, scene(budget))
    assert estimate_tokens(text.partition("\n")[2]) <= budget
    table = text.partition("worst first:\n")[2].partition("\n\n")[0].splitlines()
    if len(table) > 2:
        assert f"C{count - 1}:" in text
    assert text == written("explore", graph, scene(budget))


def test_sealed_figures_are_never_shown() -> None:
    graph = story()
    graph.add("C3.rsealed", "result", {"status": "measured", "rung": "sealed", "change": -0.77})
    graph.link("C3.rsealed", "tests", "C3")
    assert "-77" not in written("exploit", graph, scene(2000))


def test_what_is_planned_is_shortened_to_its_formula_and_what_waits_to_its_name() -> None:
    planned = ["abs(W) * x_norm ** {a:0.7} | row | formula:0.1 * depth", "W | row | uniform"]
    graph = story()
    body = {"formula": "W ** {a:0.5}", "group": "row", "allocation": "uniform"}
    graph.add("C80", "mechanism", {**body, "solver": "none"})
    found = [item.alias for item in waiting(graph, {}, planned)]
    assert found == ["abs(W) * x_norm ** {a:0.7}", "W", "C80"]


def test_retired_lessons_are_not_shown() -> None:
    shown, hidden = (
        render_prompt(PROMPTS, scene(2000), story(), "seed", Focus(), lessons=live)
        .messages[1]
        .content
        for live in (LESSONS, {"L2": (0, 0)})
    )
    assert "large inputs matter" in shown
    assert "large inputs matter" not in hidden


def test_templates_can_be_overridden_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "operators").mkdir()
    (tmp_path / "operators" / "seed.j2").write_text("Beat {{ reference }}!")
    own = Prompts(tmp_path)
    assert own.digest != PROMPTS.digest
    assert own.names == PROMPTS.names
    found = rendered("seed", story(), scene(), prompts=own)
    assert found.messages[1].content.endswith("Beat wanda!")


@pytest.mark.parametrize("text", ["{{ nonsense }}", "{% if %}", "{{ ''.__class__.mro() }}"])
def test_broken_templates_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "user.j2").write_text(text)
    with pytest.raises(UsageError, match=r"user\.j2"):
        rendered("seed", story(), scene(), prompts=Prompts(tmp_path))
    with pytest.raises(UsageError, match="does not exist"):
        Prompts(tmp_path / "nowhere")


def test_designer_text_is_data_and_not_a_template() -> None:
    graph = story()
    graph.add(
        "P91",
        "mechanism",
        {"formula": "W", "group": "row", "allocation": "uniform", "because": "{{ 7 * 7 }}"},
    )
    messages = rendered("exploit", graph, scene(), Focus(("P91",))).messages
    assert "{{ 7 * 7 }}" in messages[1].content


def test_a_large_change_keeps_its_figure_until_that_says_nothing() -> None:
    shown = [in_percent(change) for change in (-0.1234, 0.0, 9.99, 32.858, 5000.0)]
    assert shown == ["-12.3 %", "+0.0 %", "+999.0 %", "+3,286 %", "far worse"]


def test_a_template_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "system.j2").write_bytes("Größe".encode("latin-1"))
    with pytest.raises(UsageError, match=r"template system\.j2 is not UTF-8 text"):
        _ = Prompts(tmp_path).digest
    # A search copies its templates before it reads them.
    with pytest.raises(UsageError, match=r"template system\.j2 is not UTF-8 text"):
        Search.open(tmp_path / "search", make_spec(), prompts=tmp_path)
