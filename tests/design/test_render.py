"""Prompts are a pure function of the graph, within a budget, and overridable."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.design.graph import Graph
from autoprune.design.prompts import Prompts
from autoprune.design.render import Scene, estimate_tokens, neighbours, render_prompt
from autoprune.errors import UsageError

GOLDEN = Path(__file__).parent / "golden"
PROMPTS = Prompts()
OPERATORS = (
    "seed",
    "explore",
    "exploit",
    "simplify",
    "combine",
    "critique",
    "paradigm",
    "reflect",
    "list",
)
PARTS = ("metric", "allocation", "solver", "group")


def scene(budget: int = 560, **changes: object) -> Scene:
    values: dict[str, object] = {
        "language": "expression",
        "statistics": ("x_norm", "x_max"),
        "groups": ("row", "matrix"),
        "allocations": ("uniform", "sdsa", "formula"),
        "solvers": ("none", "mrp"),
        "reference": "wanda",
        "percent": 60.0,
        "budget": budget,
    }
    return Scene(**{**values, **changes})  # type: ignore[arg-type]


def story(count: int = 6) -> Graph:
    graph = Graph()
    graph.add("task", "task", {})
    formulas = ["abs(W)", "abs(W) * x_norm", "abs(W) * x_norm ** {a:0.5}", "sq(W) * x_max"]
    for number in range(count):
        alias = "wanda" if number == 1 else f"C{number}"
        because = "inputs differ in size" if number > 1 else ""
        body = {"formula": formulas[number % 4], "group": "row", "allocation": "uniform"}
        body |= {"solver": "mrp"} if number == 5 else {"solver": "none"}
        graph.add(alias, "mechanism", {**body, "because": because})
        result = {"status": "measured", "rung": 1, "change": 0.3 - 0.1 * number, "seconds": 1.0}
        graph.add(f"{alias}.r1", "result", result)
        graph.link(f"{alias}.r1", "tests", alias)
    graph.add(
        "C90",
        "mechanism",
        {"formula": "W / x_max", "group": "row", "allocation": "sdsa", "solver": "none"},
    )
    graph.add("C90.x", "result", {"status": "rejected", "code": "nan_scores"})
    graph.link("C90.x", "tests", "C90")
    graph.add("O1", "observation", {"text": "abs(W) * x_norm without x_norm: +30.0 %"})
    graph.add("L1", "lesson", {"text": "large inputs matter"})
    return graph


def written(operator: str, graph: Graph, stage: Scene) -> str:
    focus = () if operator in ("seed", "explore", "paradigm") else ("C3", "wanda")
    messages = render_prompt(PROMPTS, stage, graph, operator, focus=focus, hint="use rank(abs(W))")
    return "\n".join(f"[{m.role}]\n{m.content}" for m in messages) + "\n"


@pytest.mark.parametrize("operator", OPERATORS)
def test_golden_prompts(operator: str) -> None:
    text = written(operator, story(), scene())
    assert text == (GOLDEN / f"{operator}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("part", PARTS)
def test_golden_prompts_for_one_part(part: str) -> None:
    blank = "abs(W) * ____" if part == "metric" else ""
    messages = render_prompt(
        PROMPTS,
        scene(),
        story(),
        "exploit",
        focus=("C4",),
        hint="use x_max",
        part=part,
        blank=blank,
    )
    text = messages[1].content + "\n"
    assert text == (GOLDEN / f"exploit-{part}.txt").read_text(encoding="utf-8")


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
    text = written("exploit", story(), scene(900, language="both"))
    assert text == (GOLDEN / "python.txt").read_text(encoding="utf-8")


def test_beginning_is_shared_by_the_slots_of_a_generation() -> None:
    first, second = (written(o, story(), scene(2000)) for o in ("explore", "exploit"))
    common = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    assert common > 0.8 * len(first)


@settings(max_examples=60, deadline=None)
@given(st.integers(430, 900), st.integers(4, 40))
def test_budget_is_kept_and_the_best_comes_last(budget: int, count: int) -> None:
    graph = story(count)
    text = written("explore", graph, scene(budget))
    assert estimate_tokens(text) <= budget
    table = text.partition("worst first:\n")[2].partition("\n\n")[0].splitlines()
    if len(table) > 2:
        assert f"C{count - 1}:" in text
    assert text == written("explore", graph, scene(budget))


def test_sealed_figures_are_never_shown() -> None:
    graph = story()
    graph.add("C3.rsealed", "result", {"status": "measured", "rung": "sealed", "change": -0.77})
    graph.link("C3.rsealed", "tests", "C3")
    assert "77" not in written("exploit", graph, scene(2000))


def test_retired_lessons_are_not_shown() -> None:
    shown, hidden = (
        render_prompt(PROMPTS, scene(2000), story(), "seed", retired=retired)[1].content
        for retired in ((), ("L1",))
    )
    assert "large inputs matter" in shown
    assert "large inputs matter" not in hidden


def test_templates_can_be_overridden_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "operators").mkdir()
    (tmp_path / "operators" / "seed.j2").write_text("Beat {{ reference }}!")
    own = Prompts(tmp_path)
    assert own.digest != PROMPTS.digest
    assert own.names == PROMPTS.names
    assert render_prompt(own, scene(), story(), "seed")[1].content.endswith("Beat wanda!")


@pytest.mark.parametrize("text", ["{{ nonsense }}", "{% if %}", "{{ ''.__class__.mro() }}"])
def test_broken_templates_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "user.j2").write_text(text)
    with pytest.raises(UsageError, match=r"user\.j2"):
        render_prompt(Prompts(tmp_path), scene(), story(), "seed")
    with pytest.raises(UsageError, match="does not exist"):
        Prompts(tmp_path / "nowhere")


def test_designer_text_is_data_and_not_a_template() -> None:
    graph = story()
    graph.add(
        "C91",
        "mechanism",
        {"formula": "W", "group": "row", "allocation": "uniform", "because": "{{ 7 * 7 }}"},
    )
    messages = render_prompt(PROMPTS, scene(), graph, "exploit", focus=("C91",))
    assert "{{ 7 * 7 }}" in messages[1].content
