"""Reasons are graded by what was measured, lessons by the candidates they were shown to."""

from dataclasses import replace
from pathlib import Path

import pytest

from autoprune.candidate import Candidate
from autoprune.design.chat import ChatRequest
from autoprune.design.claims import prediction_of, verdict_of
from autoprune.design.parsing import Prediction
from autoprune.design.transports import ScriptedDesigner
from autoprune.recipe import Recipe
from autoprune.report.data import RunReport
from autoprune.report.gathering import with_search
from autoprune.search import DesignerSpec, Search, SearchBudget, graph_notes, planning
from autoprune.search.archive import Entry
from autoprune.search.starts import RecipeSpec
from autoprune.search.state import SearchState
from tests.support.synthetic import Synthetic, drive, make_spec, write_answer

LESSON = "lesson: large inputs matter most"


def teach(request: ChatRequest) -> str:
    """The same lesson each time, in other words; else a plausible answer."""
    if "lesson:" not in request.messages[-1].content:
        return write_answer(request)
    return LESSON if request.seed % 2 else "lesson: Large inputs matter most!"


def silent(request: ChatRequest) -> str:
    """An answer without a prediction."""
    lines = write_answer(request).splitlines()
    return "\n".join(line for line in lines if not line.startswith("expect"))


def state_of(search: Search) -> SearchState:
    return search._loop.state


def test_a_prediction_that_is_left_out_is_assumed_and_graded(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=24))) as search:
        drive(search, Synthetic(ScriptedDesigner(silent)))
        graph = search.graph
        hypotheses = list(graph.of_kind("hypothesis"))
        assert hypotheses
        assert all(prediction_of(node).endswith("(assumed)") for node in hypotheses)
        claimed = [e for e in search.entries if e.prediction is not None]
        assert claimed[0].prediction.text.endswith(" (assumed)")
        verdicts = {e.alias: verdict_of(graph, e.alias) for e in claimed}
        # Not one of the scripted answers beats the best line of its day.
        assert "wrong" in verdicts.values()
        graded = [e for e in claimed if e.status in ("measured", "duplicate") and e.results]
        assert all(verdicts[e.alias] in ("right", "wrong", "unclear") for e in graded)


def test_who_repeats_what_it_compares_with_is_wrong(tmp_path: Path) -> None:
    text = "because: why not\nexpect: better than {}\nmetric: {}\ngroup: row\n"
    answers = [
        text.format("wanda", "x_norm * abs(W)"),
        "because: why not\nexpect: +3 %\nmetric: x_norm * abs(W)\ngroup: row\n",
    ]
    # Of three the ramp is the bar, and what repeats Wanda is worse than that.
    made = {1: (RecipeSpec(metric="wanda"), RecipeSpec(metric="wanda", allocation="ramp"))}
    for number, (answer, kind) in enumerate(zip(answers, ("refutes", "supports"), strict=True)):
        one = {
            "budget": SearchBudget(candidates=1),
            "repair_calls": 0,
            "slots": 1,
            "repair_choices": ("none",),
        }
        starts = made.get(number, (RecipeSpec(metric="wanda"),))
        spec = make_spec(baselines=starts, **one)
        with Search.open(tmp_path / str(number), spec) as search:
            drive(search, Synthetic(ScriptedDesigner([answer])))
            entry = next(e for e in search.entries if e.order == 1)
            assert entry.duplicate_of == "wanda"
            (edge,) = search.graph.judgements(f"{entry.alias}.h")
            assert (edge.source, edge.kind) == (f"{entry.alias}.x", kind)


def test_a_repeated_lesson_is_evidence_and_answers_only_where_it_was_shown(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=40))) as search:
        drive(search, Synthetic(ScriptedDesigner(teach)))
        graph, state = search.graph, state_of(search)
        (lesson,) = graph.of_kind("lesson")
        again = [node for node in graph.of_kind("observation") if "wording" in node.body]
        assert again and all(lesson in graph.targets(n.alias, "derives_from") for n in again)
        asked = [event["step"] for event in search.history() if event["step"]["kind"] == "Propose"]
        taught = {
            step["step_id"].partition(".")[0]
            for step in asked
            if "arge inputs matter most" in step["request"]["messages"][1]["content"]
            and step["operator"] != "reflect"
        }
        tally = search.lessons["L1"]
        assert 0 < tally.helpful + tally.harmful <= len(taught) < state.generation
        report = RunReport("r", "", "m", "c", 0.6, None, ())
        body = next(n.body for n in with_search(report, search).nodes if n.alias == "L1")
        assert (body["helped"], body["hurt"]) == (tally.helpful, tally.harmful)
        assert "answer" in body


def test_a_lesson_that_no_prompt_had_room_for_is_not_blamed(tmp_path: Path) -> None:
    designer = DesignerSpec(kind="scripted", prompt_tokens=400)
    with Search.open(
        tmp_path, make_spec(budget=SearchBudget(candidates=24), designer=designer)
    ) as search:
        drive(search, Synthetic(ScriptedDesigner(teach)))
        assert [(tally.helpful, tally.harmful) for tally in search.lessons.values()] == [(0, 0)]


@pytest.mark.parametrize("budget", [SearchBudget(candidates=24), SearchBudget(evaluations=32)])
def test_results_say_what_was_gained_over_the_parent_and_terms_what_they_are_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: SearchBudget
) -> None:
    monkeypatch.setattr(planning, "FREE_OPERATORS", ("ablate", "mutate"))
    with Search.open(tmp_path, make_spec(budget=budget)) as search:
        drive(search, Synthetic())
        graph, archive = search.graph, state_of(search).archive
        gains = graph.gains()
        assert gains
        for alias, gain in gains.items():
            entry = archive[alias]
            known = (archive.compare(entry, archive[parent]) for parent in entry.parents)
            losses = [difference.mean for difference in known if difference is not None]
            if entry.rung >= 2 or not any(2 in archive[p].results for p in entry.parents):
                assert gain == pytest.approx(-max(losses))
        terms = [node.body for node in graph.of_kind("observation") if "term" in node.body]
        # A function around a term is written without the term: sq(...).
        assert terms and all(b["term"].partition("...")[0] in b["formula"] for b in terms)
        prompts = [
            event["step"]["request"]["messages"][1]["content"]
            for event in search.history()
            if event["step"]["kind"] == "Propose"
        ]
        assert any("dropping " in text and " nats" in text for text in prompts)


def test_a_duplicate_is_graded_by_its_owner_s_newest_result_alone(tmp_path: Path) -> None:
    verdicts, driver = [], Synthetic()
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=0))) as search:
        drive(search, driver)
        state = state_of(search)
        base = state.reference().results[2]
        recipe = Recipe(Candidate("expression", "abs(W) * x_max"), "row")
        owner = state.archive.add(Entry("C1", 1, "seed", recipe, status="measured"))
        prediction = Prediction("better", "wanda")
        again = state.archive.add(
            Entry("C2", 2, "seed", recipe, because="why not", prediction=prediction)
        )
        for entry in (owner, again):
            graph_notes.note_proposal(state, entry)
        search._loop.evaluator.share(again, owner)
        for shift in (-0.2, 0.0, 0.2, -0.2):
            wave = (0.01 * (-1) ** place for place in range(len(base.nll)))
            nll = tuple(nats + shift + more for nats, more in zip(base.nll, wave, strict=True))
            owner.results[2] = replace(base, nll=nll)
            graph_notes.grade_duplicate(state, again, owner)
            verdicts.append(verdict_of(search.graph, "C2"))
        newest = search.graph.newest_result("C2")
    assert verdicts == ["right", "unclear", "wrong", "right"]
    assert newest is not None
    assert newest.body == {"status": "duplicate", "code": "same as C1"}


def test_a_mutation_in_a_duplicate_s_place_repairs_nothing(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=24))) as search:
        drive(search, Synthetic())
        spares = {e.alias for e in search.entries if e.operator == "spare"}
        repaired = {e.source for e in search.graph.edges if e.kind == "repairs"}
    assert spares and not spares & repaired
