"""Arms of a search: one budget in evaluations, one answer form, one space; what each is shown."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from autoprune.candidate import Candidate
from autoprune.design.claims import count_predictions
from autoprune.design.equivalence import row_order
from autoprune.design.graph import Graph
from autoprune.design.parts import canonical_repair
from autoprune.design.sections import ranked
from autoprune.design.shown import change_in, dealt, permuted
from autoprune.design.transports import ScriptedDesigner
from autoprune.search import DesignerSpec, Search, SearchBudget, SearchSpec
from autoprune.search.catalogue import catalogue
from autoprune.search.moves import take
from autoprune.search.sampling import _of_start
from autoprune.search.starts import RecipeSpec
from autoprune.search.steps import Done, Measure, Propose
from autoprune.search_settings import ASKING_ARMS, SILENT_ARMS, Arm
from tests.support.synthetic import Synthetic, drive, make_spec, write_answer

MORE = ("none", "sparsegpt", "mrp", "mrp:select=own", "ebft:epochs=2")


def arm_spec(arm: Arm, **changes: object) -> SearchSpec:
    designer = DesignerSpec(kind="scripted") if arm in (*ASKING_ARMS, "whole") else DesignerSpec()
    return make_spec(arm=arm, designer=designer, **changes)


@pytest.mark.parametrize("arm", ["whole", *ASKING_ARMS, *SILENT_ARMS])
def test_every_arm_makes_exactly_the_evaluations_it_was_given(tmp_path: Path, arm: Arm) -> None:
    spec = arm_spec(arm, budget=SearchBudget(evaluations=7), slots=3)
    assert spec.budget.candidates == 140
    driver = Synthetic()
    with Search.open(tmp_path, spec) as search:
        done = drive(search, driver)
        steps = [h["step"] for h in search.history() if h["step"]["kind"] == "Measure"]
        whole = [s for s in steps if s["role"] == "candidate"]
        designed = [e for e in search.entries if not e.is_baseline]
        assert done == Done("evaluations") and search.spent.evaluations == 7
        # Each of another recipe, all of them on all windows and at once.
        assert len({s["recipe_id"] for s in whole}) == len(whole) == 7
        assert {s["rung"] for s in whole} == {2} and {s["known"] for s in whole} == {0}
        asked = {h["step"]["operator"] for h in search.history() if h["step"]["kind"] == "Propose"}
        assert bool(asked) == (arm in (*ASKING_ARMS, "whole"))
        operators = {e.operator for e in designed}
        if arm in ASKING_ARMS:
            # The designer alone: one question, no move in a duplicate's place, no sweep.
            assert operators == {"propose"} and asked - {"reflect", "repair"} == {"propose"}
    with Search.open(tmp_path) as again:
        assert again.graph.digest == search.graph.digest


def test_silent_arms_need_no_designer_and_contradictions_are_refused() -> None:
    assert make_spec(arm="grid", designer=DesignerSpec()).designer.kind == "none"
    assert make_spec(designer=DesignerSpec(kind="genetic")).arm == "genetic"
    for arm, kind in (("grid", "scripted"), ("graph", "none"), ("tuned", "random")):
        with pytest.raises(ValueError, match=f"the arm {arm} "):
            make_spec(arm=arm, designer=DesignerSpec(kind=kind))  # type: ignore[arg-type]
    old = make_spec(arm="list").to_json()
    del old["arm"]
    old["replace_duplicates"] = False
    old["designer"]["context"] = "list"
    assert SearchSpec.recorded(old) == make_spec(arm="list")


def test_the_grid_is_the_catalogue_in_order_and_then_nothing_is_left(tmp_path: Path) -> None:
    budget = SearchBudget(candidates=500)
    spec = arm_spec(
        "grid", budget=budget, allocations=("uniform", "ramp"), repair_choices=("none",)
    )
    with Search.open(tmp_path, spec) as search:
        assert drive(search, Synthetic()) == Done("exhausted")
        made = [e.recipe for e in search.entries if e.operator == "grid"]
        starts = [e for e in search.entries if e.is_baseline]
    taken: set[str] = set()
    assert all(e.recipe and take(e.recipe, taken) for e in starts)
    expected = [r for r in catalogue(spec.choices) if take(r, taken)]
    assert made == expected and len(made) > 15


def test_optuna_learns_from_whole_measurements_over_the_same_space(tmp_path: Path) -> None:
    spec = arm_spec("tuned", budget=SearchBudget(evaluations=22), repair_choices=MORE, slots=2)
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic())
        made = [e for e in search.entries if e.operator == "sample" and e.recipe]
        known = [canonical_repair(r).partition(":")[0] for r in spec.choices.all_repairs]
        used = Counter(e.recipe.repair.partition(":")[0] for e in made if e.recipe)
        assert used.keys() <= set(known) and len(used) > 2
        # ``mrp`` gains most here; ``none`` and ``ebft`` gain nothing.
        late = Counter(e.recipe.repair.partition(":")[0] for e in made[-8:] if e.recipe)
        assert late["mrp"] >= 4


@pytest.mark.parametrize(
    "start", ["wanda+ramp:half_width=0.4", "wanda+sdsa:statistic=skew,strength=0.2"]
)
def test_optuna_is_not_taught_starts_outside_of_its_space(tmp_path: Path, start: str) -> None:
    metric, allocation = start.split("+")
    starts = (RecipeSpec(metric=metric, allocation=allocation),)
    spec = arm_spec(
        "tuned", budget=SearchBudget(evaluations=3), repair_choices=("none",), starts=starts
    )
    with Search.open(tmp_path, spec) as search:
        assert drive(search, Synthetic()) == Done("evaluations")
        found = {
            e.alias: _of_start(e.recipe, spec.choices)
            for e in search.entries
            if e.recipe and e.is_baseline
        }
    outside = next(alias for alias in found if "=" in alias)
    assert found[outside] is None and found["wanda"] is not None and found["wanda+ramp"] is not None


def questions(folder: Path, spec: SearchSpec) -> tuple[Search, list[str], list[Graph]]:
    """All prompts of a search, and the graph as it stood when each was asked."""
    prompts, graphs = [], []
    driver = Synthetic()
    with Search.open(folder, spec) as search:
        while not isinstance(step := search.next_step(), Done):
            if isinstance(step, Propose) and step.operator == "propose":
                prompts.append("\n".join(m.content for m in step.request.messages))
                graphs.append(search.graph.beginning(len(search.graph.nodes)))
            search.record(step, driver.answer(step))
    return search, prompts, graphs


def table_of(prompt: str) -> dict[str, str]:
    found = re.findall(r"^(\S+): (?:.* \| .*: )?([-+][0-9.,]+ %|far worse)$", prompt, re.MULTILINE)
    return dict(found)


def test_arms_differ_in_what_is_shown_of_what_was_measured(tmp_path: Path) -> None:
    designer = DesignerSpec(kind="scripted", prompt_tokens=4000)
    given, shown = ("pruning down_proj alone costs 0.41 nats",), {}
    budget = SearchBudget(evaluations=12)
    for arm in ASKING_ARMS:
        spec = make_spec(arm=arm, designer=designer, budget=budget, repair_calls=0, facts=given)
        search, prompts, graphs = questions(tmp_path / arm, spec)
        assert given[0] in prompts[0] and given[0] in prompts[-1]
        last, graph = prompts[-1], graphs[-1]
        real = {m.alias: change_in(graph, m.alias) for m in graph.of_kind("mechanism")}
        shown[arm] = {
            alias: change for alias, change in table_of(last).items() if real.get(alias) is not None
        }
        printed = {a: f"{round(100 * c, 1) + 0.0:+.1f} %" for a, c in real.items() if c is not None}
        starts = {e.alias for e in search.entries if e.is_baseline}
        assert ("Failed, with counts:" in last) == (arm != "best-of-n")
        if arm == "best-of-n":
            assert shown[arm].keys() <= starts and "Reasons tested" not in last
            bare = {re.sub(r"Generation .*? measurements", "", prompt) for prompt in prompts}
            assert len({re.sub(r"Idea to try: .*", "", prompt) for prompt in bare}) == 1
        elif arm == "graph-permuted":
            common = shown[arm].keys() & printed.keys()
            assert any(shown[arm][a] != printed[a] for a in common)
            # The last of a generation may have no other's result left that is new.
            own = Counter(printed[a] for a in common)
            assert (Counter(shown[arm][a] for a in common) - own).total() <= 1
            assert all(shown[arm][start] == printed[start] for start in starts & common)
        else:
            assert {a: printed[a] for a in shown[arm]} == shown[arm] and len(shown[arm]) > 8
            assert ("Reasons tested" in last) == (arm == "graph")
            assert ("metric loses in down_proj of block 3 " in last) == (arm == "graph")


def test_a_permuted_graph_holds_the_same_results_and_judges_by_them(tmp_path: Path) -> None:
    spec = arm_spec("whole", budget=SearchBudget(candidates=30))
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic(ScriptedDesigner(write_answer)))
        graph = search.graph
    found, again = permuted(graph, 5, {"wanda"}), permuted(graph, 5, {"wanda"})
    assert found.digest == again.digest != permuted(graph, 6, {"wanda"}).digest
    names = [m.alias for m in graph.of_kind("mechanism")]
    before = {name: change_in(graph, name) for name in names}
    after = {name: change_in(found, name) for name in names}
    assert Counter(before.values()) == Counter(after.values()) and before != after
    assert before["wanda"] == after["wanda"]
    # Recipes, reasons, origins and rejections stay.
    for kind in ("mechanism", "hypothesis", "code", "lesson"):
        assert list(graph.of_kind(kind)) == list(found.of_kind(kind))  # type: ignore[arg-type]
    # Not how sure the winner is, which is true of the figures that it had.
    origins = [e for e in graph.edges if e.kind == "derives_from" and ".margin" not in e.source]
    assert origins == [e for e in found.edges if e.kind == "derives_from"]
    judged = 0
    for edge in found.edges:
        if edge.kind == "improves":
            assert after[edge.source] < after[edge.target]  # type: ignore[operator]
        if edge.kind in ("supports", "refutes"):
            owner = edge.target.removesuffix(".h")
            own = next((n.alias for n in found.targets(owner, "duplicates")), owner)
            stated = found.nodes[edge.target].body["prediction"]
            change, versus = after[own], after[stated["versus"]]
            right = (change < versus) == (stated["direction"] == "better")  # type: ignore[operator]
            assert (edge.kind == "supports") == (right and change != versus)
            judged += 1
    assert judged > 2


def test_a_shown_result_never_moves_and_is_another_recipe_s() -> None:
    generations = {f"C{number}": (number + 3) // 4 for number in range(20)}
    aliases = list(generations)
    shown: dict[str, str] = {}
    for last in range(6):
        measured = [alias for alias in aliases if generations[alias] <= last]
        given = dealt(measured, 7, generations)
        assert list(given) == measured and shown.items() <= given.items()
        assert [alias for alias, owner in given.items() if owner == alias] == ["C0"]
        assert all(generations[owner] <= generations[alias] for alias, owner in given.items())
        shown = given
    # C0 is alone in the first generation and has only its own.
    assert set(given.values()) == set(aliases)
    assert given != dealt(aliases, 8, generations)
    assert sorted(dealt(aliases, 7).values()) == sorted(aliases)


def test_a_recipe_alone_in_its_generation_repeats_a_result_that_is_shown() -> None:
    given = dealt(["a", "b", "c"], 1, {"a": 0, "b": 0, "c": 1})
    assert (given["a"], given["b"]) == ("b", "a") and given["c"] in ("a", "b")


def test_what_a_placebo_shows_of_a_recipe_stays_in_later_questions(tmp_path: Path) -> None:
    designer = DesignerSpec(kind="scripted", prompt_tokens=4000)
    budget = SearchBudget(evaluations=16)
    spec = make_spec(arm="graph-permuted", designer=designer, budget=budget, repair_calls=0)
    _, prompts, _ = questions(tmp_path, spec)
    tables = [table_of(prompt) for prompt in prompts]
    assert len(tables[-1]) > len(tables[0]) > 3
    for earlier, later in pairwise(tables):
        common = earlier.keys() & later.keys()
        assert {a: earlier[a] for a in common} == {a: later[a] for a in common}


def test_a_placebo_draws_lessons_from_the_shown_results_and_retires_none(tmp_path: Path) -> None:
    pairs: list[list[str]] = []

    def answer(request):  # type: ignore[no-untyped-def]
        if "lesson:" not in request.messages[-1].content:
            return write_answer(request)
        return f"lesson: large inputs matter {'so ' * len(pairs)}much"

    spec = arm_spec("graph-permuted", budget=SearchBudget(evaluations=26), repair_calls=0)
    driver, shown = Synthetic(ScriptedDesigner(answer)), []
    with Search.open(tmp_path, spec) as search:
        while not isinstance(step := search.next_step(), Done):
            if isinstance(step, Propose) and step.operator == "reflect":
                graph = search._loop._requests.graph
                designed = [name for name in ranked(graph) if name.startswith("C")]
                pairs.append([designed[0], designed[len(designed) // 2]])
                shown.append(step.request.messages[-1].content)
            search.record(step, driver.answer(step))
        graph = search.graph
        assert len(pairs) > 1
        for lesson, pair, prompt in zip(graph.of_kind("lesson"), pairs, shown, strict=True):
            assert [n.alias for n in graph.targets(lesson.alias, "derives_from")] == pair
            assert re.findall(r"^(?:Better|Worse): (C\d+): ", prompt, re.MULTILINE) == pair[::-1]
        for tally in search._loop.state.lessons.values():
            tally.harmful += 9
        (preview,) = search.preview("propose")
    assert "large inputs matter" in preview.request.messages[1].content


def test_two_repairs_are_joined_and_measured_with_all_windows(tmp_path: Path) -> None:
    spec = arm_spec("none", budget=SearchBudget(candidates=30), repair_choices=MORE)
    assert set(spec.choices.compositions) == {
        *("mrp:select=own+sparsegpt", "mrp:select=own+ebft:epochs=2"),
        *("sparsegpt+ebft:epochs=2", "mrp+ebft:epochs=2"),
    }
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic())
        made = [e for e in search.entries if e.operator == "compose" and e.recipe]
        measured = [
            h["step"] for h in search.history() if isinstance(h["step"], dict)
            and h["step"]["kind"] == Measure.__name__
        ]  # fmt: skip
    assert made and {e.recipe.repair for e in made if e.recipe} <= set(spec.choices.compositions)
    ids = {e.alias for e in made}
    assert {s["rung"] for s in measured if s["recipe_id"] in ids} == {2}


def test_forecasts_are_numbers_against_the_best_line_and_graded(tmp_path: Path) -> None:
    def answer(request):  # type: ignore[no-untyped-def]
        bar = re.search(r"To beat: (\S+)\.", request.messages[1].content)
        assert bar is not None and f'alias ::= "{bar[1]}"' in request.grammar
        text = str(write_answer(request))
        return re.sub(r"expect: .*", f"expect: -4 % against {bar[1]}", text)

    spec = arm_spec("list", budget=SearchBudget(evaluations=12))
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic(ScriptedDesigner(answer)))
        found = search.forecasts
        assert found is not None
        # An answer may lack its forecast; then nothing is graded.
        stated = [e for e in search.entries if e.prediction and e.prediction.stated]
        stated = [e for e in stated if 2 in e.results and e.duplicate_of is None]
        assert found.graded == len(stated) >= 11
        hits = 0
        for entry in stated:
            assert entry.prediction is not None
            versus = search._loop.archive[entry.prediction.versus]
            hits += entry.score < versus.score
            assert versus.order < entry.order or versus.is_baseline
        assert (found.hits, found.forecast) == (hits, pytest.approx(-0.04))
        assert found.base == max(hits, len(stated) - hits)
        # In words as the prompts count: what may be chance is neither right nor wrong.
        right, wrong = count_predictions(search.graph)
        assert right + wrong > 0 and found.usual <= right + wrong
        assert found.text.startswith(f"{right} predictions right and {wrong} wrong (")


def test_formulas_written_otherwise_are_named_before_they_are_measured(tmp_path: Path) -> None:
    formula = "sq(abs(W) * x_norm) / row_max(abs(W)) * 3"
    wanda = row_order(Candidate("builtin", "wanda"))
    assert wanda is not None and row_order(Candidate("expression", formula)) == wanda
    # A limit that counts on layers with small or with large inputs only makes another formula.
    for limited in ("max(x_norm, {a:0.02})", "min(x_norm, {a:200.0})"):
        assert row_order(Candidate("expression", f"abs(W) * {limited}", {})) != wanda
    text = f"because: rows\nmetric: {formula}\ngroup: row\nallocation: uniform\nrepair: none\n"
    whole = text.replace("group: row", "group: matrix")
    driver = Synthetic(ScriptedDesigner(lambda request: (text, whole)[request.seed % 2]))
    spec = arm_spec("list", budget=SearchBudget(candidates=8), repair_calls=0)
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
        first = next(e for e in search.entries if e.recipe and e.recipe.group == "row" and e.order)
        assert (first.status, first.duplicate_of) == ("duplicate", "wanda")
        assert "orders the weights of each row as abs(W) * x_norm does" in first.detail
        assert not [step for step in driver.asked if step.startswith(f"{first.alias}.")]
        other = [e for e in search.entries if e.recipe and e.recipe.group == "matrix" and e.order]
        assert any(e.status == "measured" for e in other)


def test_slots_of_a_generation_get_different_ideas(tmp_path: Path) -> None:
    designer = DesignerSpec(kind="scripted", prompt_tokens=4000)
    spec = make_spec(
        arm="best-of-n", designer=designer, budget=SearchBudget(evaluations=12), repair_calls=0
    )
    _, prompts, _ = questions(tmp_path, spec)
    ideas = [re.findall(r"Idea to try: (.*)\.", prompt)[0] for prompt in prompts]
    slots = spec.slots
    assert slots > 1 and len(ideas) >= 2 * slots
    # None is given again before all twelve have been.
    assert len(set(ideas[:12])) == min(len(ideas), 12)
