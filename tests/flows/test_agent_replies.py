"""What an agent reads and may answer: questions together, how far the search is, which split."""

import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from filelock import FileLock

from autoprune.design.chat import ChatRequest, Message
from autoprune.design.mailbox import Mailbox, Question
from autoprune.models.reference import DEMO_MODEL
from autoprune.search import Search, SearchBudget
from autoprune.search.steps import Done
from autoprune.search_settings import USUAL_SPARSITY
from flows.agents import jobs
from flows.agents.jobs import Jobs
from flows.agents.project import Project
from flows.agents.questions import shared_once
from flows.agents.server import build_server
from flows.compare.params import USUAL_DRAWS, CompareParams
from flows.evaluate.params import EvaluateParams
from flows.search.params import SearchParams
from flows.search.posting import facts_for_designers
from flows.search.runs import save_params
from tasks.run_files import RunFiles
from tasks.run_record import RunRecord
from tasks.state import State
from tests.support.agent_client import call, whole
from tests.support.answers_in_files import SPEC
from tests.support.synthetic import Synthetic


@pytest.fixture
def project(tmp_path: Path, home: Path) -> Project:
    return Project(tmp_path, State.open())


def test_what_questions_share_is_given_once() -> None:
    def body(name: str, own: str, *more: dict[str, str], system: str = "S") -> dict[str, Any]:
        user = {"role": "user", "content": f"table\nrow\n{own}"}
        return {"id": name, "messages": [{"role": "system", "content": system}, user, *more]}

    again = ({"role": "assistant", "content": "A"}, {"role": "user", "content": "B"})
    bodies = [body("1", "row too\nlast"), body("2", "row two\nlast", *again), body("3", "row")]
    found = shared_once(bodies)
    assert found["shared"] == {"system": "S", "beginning": "table\nrow\n"}
    assert [q["messages"][0]["content"] for q in found["questions"]] == [
        "row too\nlast", "row two\nlast", "row",
    ]  # fmt: skip
    assert [[m.content for m in talk][1:] for talk in whole(found)] == [
        [m["content"] for m in one["messages"]][1:] for one in bodies
    ]
    # One alone, and those of different systems, are given as they are.
    for alone in ([bodies[0]], [bodies[0], body("4", "x", system="T")]):
        kept = shared_once(alone)
        assert not kept["shared"]
        assert [q["messages"] for q in kept["questions"]] == [b["messages"] for b in alone]


def test_tools_have_the_defaults_of_their_commands(project: Project) -> None:
    tools = {tool.name: tool.input_schema for tool in anyio.run(build_server(project).list_tools)}
    # What stands for a default of None.
    usual = {"sparsity": USUAL_SPARSITY, "draws": USUAL_DRAWS}
    models = {"start_search": SearchParams, "compare": CompareParams, "evaluate": EvaluateParams}
    for tool, kind in models.items():
        for name, field in tools[tool]["properties"].items():
            if name in kind.model_fields and field.get("default") not in (None, ""):
                default = kind.model_fields[name].default
                assert field["default"] == (usual[name] if default is None else default)


def test_several_answers_are_taken_together_or_not_at_all(project: Project) -> None:
    save_params(project.state, "night", SearchParams(model="m", designer="files", run="night"))
    files = RunFiles.of(project.state, "night")
    box = Mailbox(files.questions, "night")
    (files.folder / "search.db").touch()
    questions = [
        Question(
            "night",
            f"g1.s{slot}.a0",
            "seed",
            ChatRequest((Message("user", "?"),), 9, 0.0, slot),
            {},
        )
        for slot in (0, 1)
    ]
    first, second = (question.id for question in questions)
    for question in questions:
        box.post(question)
    wrong = [
        {"answers": {first: "metric: W", second: " "}},
        {"answers": {first: "metric: W", "g9.s9.a0-00000000": "metric: W"}},
        {"answers": {first: "a", second: "b"}, "prompt_tokens": 5},
        {"answers": {first: "a"}, "question": second, "text": "b"},
        {"answers": {}},
    ]
    given = [("answer", {"run": "night", **one}) for one in wrong]
    replies = call(project, *given)
    words = ("1 to", "not an open question", "leave them out of several", "not both", "not both")
    assert [part in str(reply) for part, reply in zip(words, replies, strict=True)] == [True] * 5
    assert not box.is_answered(first) and not box.is_answered(second)
    (taken,) = call(project, ("answer", {"run": "night", "answers": {first: "a", second: "b"}}))
    assert taken["accepted"] == [first, second] and taken["questions_waiting"] == 0
    replies_read = [box.look(name) for name in (first, second)]
    assert [reply.text for reply in replies_read if reply] == ["a", "b"]


def test_the_number_of_a_fresh_split_is_what_the_search_settled(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = SearchParams(model="m", designer="files", run="night", text_split=7)
    monkeypatch.setattr(Jobs, "is_alive", lambda _jobs, _name: True)
    monkeypatch.setattr(
        Jobs, "start", lambda _jobs, _name, _words: save_params(project.state, "night", params)
    )
    asked = {"model": DEMO_MODEL, "run": "night", "text_split": "fresh"}
    (begun,) = call(project, ("start_search", asked))
    assert begun["text_split"] == 7
    (RunFiles.of(project.state, "night").folder / "search.db").touch()
    (known,) = call(project, ("next_questions", {"run": "night", "wait_seconds": 0}))
    assert known["text_split"] == 7


def test_a_search_that_cannot_begin_gives_its_log(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(command: list[str], *rest: Any) -> Any:
        code = "import sys; sys.exit('Docker does not answer; use --sandbox off')"
        return real([sys.executable, "-c", code], *rest)

    real = jobs.processes.start
    monkeypatch.setattr(jobs.processes, "start", started)
    asked = {"model": DEMO_MODEL, "run": "night", "text_split": 3}
    _, found, stopped, wrong = call(
        project,
        ("start_search", asked),
        ("next_questions", {"run": "night", "wait_seconds": 50}),
        ("stop", {"name": "night"}),
        ("next_questions", {"run": "nihgt"}),
    )
    assert found["status"] == "failed" and found["questions"] == []
    assert found["log"] == ["Docker does not answer; use --sandbox off"]
    assert stopped["log"] == found["log"] and "start_search again" in stopped["next"]
    assert "unknown run 'nihgt'" in wrong


def test_what_comes_next_says_how_far_the_search_is(project: Project) -> None:
    save_params(project.state, "night", SearchParams(model="m", designer="files", run="night"))
    files = RunFiles.of(project.state, "night")
    seen: list[dict[str, Any]] = []
    spec = SPEC.model_copy(update={"budget": SearchBudget(candidates=60, evaluations=5)})
    with Search.open(files.folder, spec) as search:
        driver = Synthetic()
        while not isinstance(step := search.next_step(), Done):
            search.record(step, driver.answer(step))
            files.open_facts().add(**facts_for_designers(search))
            seen.append(project.status_of("night", alive=True))
        RunRecord.of(search, files.read_facts(), "night").write(files)
    words = [reply["next"].partition("; ")[0] for reply in seen]
    baselines = [w for w in words if "the hand-made starts" in w]
    # The first ones are only validated; then they are measured one by one.
    assert "it measures the hand-made starts: 0 of 6 recipes so far" in baselines
    counts = [int(w.split(": ")[1].split()[0]) for w in baselines]
    assert counts == sorted(counts) and {1, 2, 3, 4, 5} <= set(counts)
    assert any(w.startswith("it measures generation 1: 1 of ") for w in words)
    ends = [reply for reply in seen if reply["next"].startswith("final measurement, no more")]
    assert ends and all(reply["left_of_budget"]["evaluations"] == 0 for reply in ends)
    assert "5 evaluations are left" in seen[0]["next"]
    assert not any("left in the budget" in reply["next"] for reply in ends)
    assert "left in the budget" not in project.status_of("night", alive=True)["next"]
    assert "left in the budget" not in project.status_of("night", alive=False)["next"]


def test_a_pattern_needs_no_sparsity_and_suites_get_the_text_that_they_read(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(Jobs, "start", lambda _jobs, _name, words: begun.append(words))
    monkeypatch.setattr(Jobs, "start_next", lambda jobs, _, words: jobs.start("1", words) or "1")
    monkeypatch.setattr(Jobs, "wait", lambda _jobs, name, _seconds: {"job": name})
    text = project.root / "mine.txt"
    text.write_text("some words\n\nand more of them")
    asked = {"model": DEMO_MODEL, "corpus": "mine.txt"}
    found, _, refused = call(
        project,
        ("start_search", {"model": DEMO_MODEL, "pattern": "2:4"}),
        ("evaluate", asked | {"suites": ["lastword"], "wait_seconds": 0}),
        ("evaluate", asked | {"suites": ["reasoning"], "wait_seconds": 0}),
    )
    assert not isinstance(found, str), found
    search, evaluation = begun
    assert "--pattern=2:4" in search and not any("--sparsity" in word for word in search)
    assert any(word.startswith("--corpus=") and "mine.txt" in word for word in evaluation)
    assert "none of the suites reasoning reads a text" in refused


def test_text_that_an_open_run_seals_is_not_measured(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Jobs, "start_next", lambda *_: "1")
    monkeypatch.setattr(Jobs, "wait", lambda _jobs, name, _seconds: {"job": name})
    monkeypatch.chdir(project.root)
    for name in ("mine.txt", "other.txt"):
        (project.root / name).write_text("some words\n\nand more of them")
    text = str(project.root / "mine.txt")
    save_params(
        project.state, "night", SearchParams(model="m", designer="files", run="night", corpus=text)
    )
    files = RunFiles.of(project.state, "night")
    (files.folder / "search.db").touch()
    calls = [
        ("compare", {"model": DEMO_MODEL, "methods": ["wanda"], "corpus": "./mine.txt"}),
        ("evaluate", {"model": DEMO_MODEL, "suites": ["lm"], "corpus": "mine.txt"}),
    ]
    calls.append(("evaluate", {**calls[1][1], "corpus": "mine.txt#column"}))
    calls.append(("start_search", {"model": DEMO_MODEL, "corpus": "mine.txt", "run": "second"}))
    for refused in call(project, *calls):
        assert "'night' has not ended and keeps" in str(refused)
    search = calls.pop()
    elsewhere = [(name, {**asked, "corpus": "other.txt"}) for name, asked in calls]
    unread = ("evaluate", {"model": DEMO_MODEL, "suites": ["reasoning"]})
    assert call(project, *elsewhere, unread) == [{"job": "1"}] * 4
    # Another split keeps other text sealed, and the run itself goes on.
    for own in ({"text_split": 3}, {"run": "night"}):
        (begun,) = call(project, (search[0], search[1] | own))
        assert begun["status"] == "working"
    monkeypatch.setattr(Project, "ended", lambda *_: True)
    assert call(project, *calls) == [{"job": "1"}] * 3


def test_a_search_at_work_elsewhere_is_not_called_stopped(project: Project) -> None:
    save_params(project.state, "night", SearchParams(model="m", designer="files", run="night"))
    files = RunFiles.of(project.state, "night")
    (files.folder / "search.db").touch()
    with FileLock(f"{files.log}.lock"):
        (found,) = call(project, ("next_questions", {"run": "night", "wait_seconds": 0}))
    assert found["status"] == "working", found
