"""An agent over the Model Context Protocol: the loop to the end, and what it may not name."""

import math
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from autoprune.design.chat import ChatRequest, Message
from autoprune.design.mailbox import Mailbox
from autoprune.errors import UsageError
from autoprune.models.reference import DEMO_MODEL
from autoprune.search import Search
from autoprune.search.arms import CONTROLS
from autoprune.search.paired import paired_difference
from flows.agents import jobs
from flows.agents.jobs import Jobs
from flows.agents.project import Project
from flows.agents.server import build_server
from flows.agents.starting import options
from flows.search import posting
from flows.search.params import SearchParams
from flows.search.posting import facts_for_designers
from flows.search.runs import save_params
from tasks.run_files import RunFiles
from tasks.run_record import RunRecord
from tasks.state import State
from tests.support.agent_client import call, whole
from tests.support.answers_in_files import SPEC, play
from tests.support.prefect_stack import until
from tests.support.synthetic import write_answer


@pytest.fixture
def project(tmp_path: Path, home: Path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    return Project(root, State.open())


@pytest.fixture
def night(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Search]:
    """A run called night that asks in its own folder, played in a thread."""
    monkeypatch.setattr(posting, "LOOK_SECONDS", 0.001)
    files = RunFiles.of(project.state, "night")
    search = Search.open(files.folder, SPEC)
    save_params(project.state, "night", SearchParams(model="m", designer="files", run="night"))
    box = Mailbox(files.questions, "night")

    def note() -> None:
        files.open_facts().add(**facts_for_designers(search))
        RunRecord.of(search, files.read_facts(), "night").write(files)

    thread = threading.Thread(target=lambda: (play(search, box, note, wait=True), note()))
    thread.start()
    yield search
    thread.join(60)
    search.close()


def as_request(question: dict[str, Any], talk: list[Message]) -> ChatRequest:
    messages = tuple(talk)
    fields = (question["schema"] or {}).get("properties", {})
    # All that the synthetic designer reads of a grammar: the lines that are asked for.
    lines = " ".join(f"{name}: " for name in fields)
    return ChatRequest(messages, 90, 0.0, 0, lines)


def test_an_agent_plays_a_search_to_its_end(project: Project, night: Search) -> None:
    asked: list[tuple[dict[str, Any], set[str]]] = []

    async def talk() -> list[dict[str, Any]]:
        replies: list[dict[str, Any]] = []
        async with Client(build_server(project)) as client:

            async def say(name: str, **given: Any) -> dict[str, Any]:
                found = await client.call_tool(name, given)
                assert not found.is_error, found.content
                assert found.structured_content is not None
                replies.append(found.structured_content)
                return replies[-1]

            assert {tool.name for tool in (await client.list_tools()).tools} >= {
                "runs", "start_search", "next_questions", "answer", "results", "graph", "compare",
                "evaluate", "stop",
            }  # fmt: skip
            while True:
                found = await say("next_questions", run="night", wait_seconds=1)
                if found["status"] == "finished":
                    break
                texts = {
                    question["id"]: write_answer(as_request(question, talk)) or "I pass."
                    for question, talk in zip(found["questions"], whole(found), strict=True)
                }
                asked.append((found, set(texts)))
                if texts:
                    await say("answer", run="night", answers=texts)
                await anyio.sleep(0.01)
            await say("results", run="night")
            await say("graph", run="night", kinds=["mechanism"], newest=5)
            await say("graph", run="night", newest=200, prompts=True)
        return replies

    replies = anyio.run(talk)
    assert night.finished == "candidates"
    # No reply lets an agent believe that one answer was all.
    assert all({"left_of_budget", "questions_waiting", "next"} <= set(r) for r in replies)
    asking = [r for r in replies if r["status"] == "asking"]
    assert asking and all("until the status is finished" in r["next"] for r in asking)
    known = [r["left_of_budget"]["candidates"] for r in replies if r["left_of_budget"]]
    assert known[0] > 9 and known[-1] == 0 and known == sorted(known, reverse=True)
    board, graph, everything = replies[-3:]
    assert board["leaderboard"][0]["rank"] == 1 and board["ended"]
    assert len(graph["nodes"]) == 5 < graph["of_nodes"]
    assert not any({"prompt", "answer"} & node["body"].keys() for node in graph["nodes"])
    assert any("prompt" in node["body"] for node in everything["nodes"])
    # What several questions share stood in each of them, to the letter, and no answer was lost.
    sent = {
        event["step"]["step_id"]: [Message(m["role"], m["content"]) for m in messages]
        for event in night.history()
        if "request" in event["step"]
        for messages in [event["step"]["request"]["messages"]]
    }
    for found, names in asked:
        steps = [name.rpartition("-")[0] for name in names]
        assert {tuple(sent[step]) for step in steps} == set(map(tuple, whole(found)))
    printed = {name for _, names in asked for name in names}
    assert {name.rpartition("-")[0] for name in printed} == sent.keys()
    winner_is_reported(board, night)
    in_one_unit(everything, night)


def winner_is_reported(board: dict[str, Any], night: Search) -> None:
    """The winner against the best start and the reference, on both parts, by its own windows."""
    best = night.best
    assert best is not None and board["winner"] == best.alias and not best.is_baseline
    assert board["answered_by"] == "Ada" and set(board["dense_perplexity"]) == {
        "selection",
        "sealed",
    }
    starts = [e for e in night.archive.measured() if e.is_baseline]
    rivals = {"best start": starts[0], "reference": night.archive["wanda"]}
    shown = {(one["which_is"], one["split"]): one for one in board["winner_against"]}
    assert shown.keys() == {(role, split) for role in rivals for split in ("selection", "sealed")}
    for (role, split), one in shown.items():
        own, other = (
            e.sealed.nll if split == "sealed" and e.sealed else e.results[2].nll
            for e in (best, rivals[role])
        )
        pair = paired_difference(own, other)
        assert one["versus"] == rivals[role].alias and one["windows"] == len(own)
        assert one["change_percent"] == pytest.approx(100 * math.expm1(pair.mean), abs=0.006)
        ends = [100 * math.expm1(end) for end in (pair.low, pair.high)]
        assert one["interval_percent"] == pytest.approx(ends, abs=0.006)


def in_one_unit(everything: dict[str, Any], night: Search) -> None:
    """Changes of perplexity in percent, by name, where the log has shares and nats."""
    bodies = {node["alias"]: node["body"] for node in everything["nodes"]}
    assert not any(
        {"change", "interval", "difference", "gain", "nats"} & b.keys() for b in bodies.values()
    )
    entry = next(
        e for e in night.entries if e.change and 2 in e.results and f"{e.alias}.r2" in bodies
    )
    assert entry.change is not None
    shown = bodies[f"{entry.alias}.r2"]
    assert shown["change_percent"] == pytest.approx(100 * math.expm1(entry.change.mean), abs=0.006)
    ends = [100 * math.expm1(end) for end in (entry.change.low, entry.change.high)]
    assert shown["interval_percent"] == pytest.approx(ends, abs=0.006)
    assert "change" in night.graph.nodes[f"{entry.alias}.r2"].body
    (margin, *_) = night.margins
    found = bodies[f"{night.best.alias}.margin1"]["difference_percent"]  # type: ignore[union-attr]
    assert found == pytest.approx(100 * math.expm1(margin.difference.mean), abs=0.006)


def test_answers_to_nothing_are_refused(project: Project, night: Search) -> None:
    box = Mailbox(RunFiles.of(project.state, "night").questions, "night")
    while not (names := box.open_ids()):
        pass
    given = {"run": "night", "question": names[0], "text": "metric: W"}
    wrong = [
        given | {"question": "../../params"},
        given | {"question": "g9.s9.a0-00000000"},
        given | {"text": "x" * 20_001},
        given | {"text": " "},
        given | {"prompt_tokens": -1},
        given | {"run": "../night"},
    ]
    replies = call(project, *[("answer", one) for one in wrong])
    printed = (
        "is not an open question",
        "is not an open question",
        "20001",
        "1 to",
        "from 0 up",
        "night",
    )
    assert all(isinstance(reply, str) for reply in replies)
    assert [part in reply for part, reply in zip(printed, replies, strict=True)] == [True] * 6
    assert box.open_ids() == names and not any(map(box.is_answered, names))
    # Let the search end.
    while night.finished is None:
        for name in box.open_ids():
            if not box.is_answered(name):
                box.answer(name, "I pass.")


@pytest.mark.parametrize(
    "ref", ["/etc", "../other", "~/model", "inner/../../up", "out", "a\x00b", "package:os/x.gguf"]
)
def test_paths_stay_inside(project: Project, ref: str) -> None:
    (project.root / "out").symlink_to("/")
    with pytest.raises(UsageError, match=r"outside of the project|not an installed model"):
        project.model(ref)
    for name, given in (
        ("start_search", {"model": ref}),
        ("start_search", {"model": "org/name", "corpus": f"{ref}.txt#column"}),
        ("compare", {"model": ref, "methods": ["wanda"]}),
        ("evaluate", {"model": "org/name", "suites": ["lm"], "against": ref}),
    ):
        if "corpus" in given and ref in ("out", "package:os/x.gguf"):
            # As names of files these are of the project.
            continue
        (reply,) = call(project, (name, given))
        assert "outside of the project" in reply or "not an installed model" in reply
    assert Jobs(project.state, project.root).register.noted() == {}


def test_a_text_that_is_a_link_stays_unread(project: Project) -> None:
    (project.root / "notes.txt").symlink_to("/etc/hostname")
    for ref in ("notes.txt", "notes.txt#column", "self-generated:model=/etc"):
        with pytest.raises(UsageError, match=r"outside of the project|names a model"):
            project.corpus(ref)
    (project.root / "mine.txt").write_text("words")
    (project.root / "mine, yours.txt").write_text("words")
    known = ("mine.txt", "wikipedia-sample", "hf:a/b:train#text", "mine, yours.txt")
    assert [project.corpus(ref) for ref in (*known, ",".join(known))] == [*known, ",".join(known)]


@pytest.mark.parametrize(
    "ref",
    [
        "mine.txt,/etc/secret.jsonl",
        "hf:x/y:train, ~/secret.jsonl",
        "wikitext2,self-generated:model=/etc",
        "a#/../../secret.jsonl",
        "hf:/etc/folder:train",
        "hf:../folder:train",
    ],
)
def test_each_text_of_a_list_stays_inside(project: Project, ref: str) -> None:
    asked = {"model": "org/name", "suites": ["lm"], "corpus": ref}
    (reply,) = call(project, ("evaluate", asked))
    assert "outside of the project" in reply or "names a model" in reply
    assert Jobs(project.state, project.root).register.noted() == {}


def test_what_would_run_other_code_is_refused(project: Project) -> None:
    replies = call(
        project,
        ("evaluate", {"model": "org/name", "suites": ["tasks:folder=x"]}),
        ("compare", {"model": "org/name", "methods": ["wanda,llm-compressor:wanda"]}),
        ("compare", {"model": "org/name", "methods": ["wanda", " program:/any/x.py+ebft"]}),
        ("compare", {"model": "org/name", "methods": ["wanda,/any/x.py"]}),
        ("start_search", {"model": "org/name", "sizes": {"script": 1}}),
        ("stop", {"name": "postgres"}),
    )
    files = "programs and files are not compared here"
    printed = (
        *("without settings", "leave it out", files, files),
        *("sizes has no script", "job 'postgres'"),
    )
    assert [part in reply for part, reply in zip(printed, replies, strict=True)] == [True] * 6
    # A value that looks like an option stays a value.
    assert options({"designer_model": "--script=x"}) == ["--designer-model=--script=x"]


def test_arguments_that_a_tool_lacks_are_refused(project: Project) -> None:
    named = {"model": "org/name", "suites": ["lm"]}
    replies = call(
        project,
        ("start_search", {"model": "org/name", "windows": {"seqlen": 64}}),
        ("evaluate", named | {"windows": 3}),
        ("evaluate", named | {"measure_windows": 3}),
        ("runs", {"all": True}),
    )
    printed = (
        *("windows is now sizes", "windows is now measured_windows"),
        *("has no measure_windows; allowed: model, suites", "runs has no all; allowed: nothing"),
    )
    assert [part in reply for part, reply in zip(printed, replies, strict=True)] == [True] * 4
    assert Jobs(project.state, project.root).register.noted() == {}


def test_a_search_takes_a_fresh_sealed_set_and_a_budget(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(Jobs, "start", lambda _jobs, _name, words: begun.append(words))
    asked = {"model": DEMO_MODEL, "text_split": "fresh", "evaluations": 12}
    found, refused = call(
        project, ("start_search", asked), ("start_search", asked | {"text_split": "stale"})
    )
    assert not isinstance(found, str), found
    assert found["run"].endswith("-fresh") and "text_split" in refused
    (words,) = begun
    # Under the name that the reply gives: the search would take another from the number it settles.
    assert {"--text-split=fresh", "--evaluations=12", f"--run={found['run']}"} <= set(words)
    project.state.run(found["run"]).mkdir(parents=True)
    (again,) = call(project, ("start_search", asked))
    assert again["run"] == f"{found['run']}-2"


def test_a_job_is_waited_for_read_and_stopped(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import time\nprint('begun\\n{\\n  \"a\": [\\n    1\\n  ]\\n}', flush=True)\n"

    def started(command: list[str], *rest: Any) -> Any:
        more = "time.sleep(60)" if "stay" in command else ""
        return real([sys.executable, "-c", code + more], *rest)

    real = jobs.processes.start
    monkeypatch.setattr(jobs.processes, "start", started)
    found = Jobs(project.state, project.root)
    found.start("compare-1", ["go"])
    assert found.wait("compare-1", 20) | {"log": []} == {
        "job": "compare-1", "status": "done", "result": {"a": [1]}, "next": "read the result",
        "log": [],
    }  # fmt: skip
    assert found.free_name("compare") == "compare-2"
    # Two calls at once get two names, and both jobs stay known.
    with ThreadPoolExecutor(4) as pool:
        names = set(pool.map(lambda _: found.start_next("compare", ["now"]), range(4)))
    assert len(names) == 4 and names <= set(found.register.noted())
    found.start("search-night", ["stay"])
    with pytest.raises(UsageError, match="already running"):
        found.start("search-night", ["stay"])
    assert found.wait("search-night", 0.3)["status"] == "working"
    assert found.stop("search-night") and not found.is_alive("search-night")
    assert found.stop("search-night") is False


def test_a_search_that_ended_is_a_job_with_a_result(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the command prints at its end, by the words that the job is started with.
    code = (
        "import sys\nfrom flows.cli.parser import parse\nfrom flows.terminal.output import emit\n"
        "print('estimate: one line')\n"
        "emit(parse(sys.argv[1:]), {'run': 'night', 'passed': True}, 'the summary')"
    )

    def started(command: list[str], *rest: Any) -> Any:
        words = command[command.index("flows.cli") + 1 :]
        return real([sys.executable, "-c", code, *words], *rest)

    real = jobs.processes.start
    monkeypatch.setattr(jobs.processes, "start", started)
    asked = {"model": DEMO_MODEL, "run": "night", "text_split": 3, "sizes": {"seqlen": 64}}
    (begun,) = call(project, ("start_search", asked | {"evaluations": 5, "candidates": 9}))
    assert begun["job"] == "search-night" and begun["text_split"] == 3
    assert begun["sizes"]["seqlen"] == 64 and begun["sizes"]["sealed_windows"] == 100
    assert begun["budget"] == {"candidates": 9, "evaluations": 5, "minutes": None}
    found = Jobs(project.state, project.root)
    until(lambda: not found.is_alive("search-night"), 120, "end of the job")
    (reply,) = call(project, ("job", {"name": "search-night"}))
    assert (reply["status"], reply["result"]) == ("done", {"run": "night", "passed": True})


@pytest.mark.parametrize("field", [{"arm": "best-of-n"}, {"hide": ["ebft"]}, {}])
def test_what_questions_keep_back_is_shown_after_the_end(
    project: Project, monkeypatch: pytest.MonkeyPatch, field: dict[str, Any]
) -> None:
    params = SearchParams(model="m", designer="files", run="night", **field)
    save_params(project.state, "night", params)
    monkeypatch.setattr(Project, "run", lambda self, name: RunFiles.of(self.state, name))
    monkeypatch.setattr(Project, "ended", lambda *_: "")
    if field:
        with pytest.raises(UsageError, match="its questions show less than this"):
            project.require_open("night", *CONTROLS)
        monkeypatch.setattr(Project, "runs", lambda _: ["night"])
        # Nor by way of its log; that of another job is shown.
        reply = {"status": "working", "log": ["C1 abs(W): perplexity 3"]}
        assert project.shown("search-night", reply) == {"status": "working"}
        broken = {**reply, "log": [*reply["log"], "autoprune: Docker does not answer"]}
        assert project.shown("search-night", broken)["log"] == broken["log"][1:]
        assert project.shown("compare-1", reply) == reply
        monkeypatch.setattr(Project, "ended", lambda *_: "candidates")
        assert project.shown("search-night", reply) == reply
    project.require_open("night", *CONTROLS)
