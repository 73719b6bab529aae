"""Which of two measured recipes is better: questions leak nothing, answers are graded in pairs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from autoprune.design.graph import Graph
from autoprune.design.shown import permuted
from autoprune.search import Search, SearchBudget
from autoprune.search.search import LOG_FILE
from benchmarks import forecasting, known_log
from benchmarks.forecasting import (
    CONTEXTS,
    drawn_pairs,
    graded,
    held_out,
    mcnemar,
    questions,
    read_answer,
    recorded_questions,
)
from benchmarks.known_log import KnownLog, read_log
from tests.support.synthetic import Synthetic, drive, make_spec

PAIRS = 20


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    with Search.open(folder, make_spec(budget=SearchBudget(evaluations=24))) as search:
        drive(search, Synthetic())
    return folder


@pytest.fixture(scope="module")
def known(log: Path) -> KnownLog:
    return read_log(log)


def test_pairs_differ_clearly_are_repeatable_and_in_no_order(known: KnownLog) -> None:
    pairs = drawn_pairs(known, PAIRS, 3)
    assert pairs == drawn_pairs(known, PAIRS, 3) != drawn_pairs(known, PAIRS, 4)
    assert len({frozenset((p.first, p.second)) for p in pairs}) == PAIRS
    for pair in pairs:
        difference = known.compare(pair.first, pair.second)
        assert difference is not None
        assert pair.better == (pair.first if difference.better else pair.second)
        assert difference.better or difference.worse
    assert 0 < sum(pair.better == pair.first for pair in pairs) < PAIRS


def test_no_question_knows_its_answer_and_contexts_differ(known: KnownLog) -> None:
    pairs = drawn_pairs(known, PAIRS, 3)
    asked = list(questions(known, pairs, CONTEXTS, 4000, 0))
    assert len({q.id for q in asked}) == len(asked) == PAIRS * len(CONTEXTS)
    for question in asked:
        user = question.request.messages[1].content
        for alias in (question.pair.first, question.pair.second):
            # Neither its line, nor a step, a fact or a lesson that names it.
            assert not re.search(rf"(?<![\w+]){re.escape(alias)}(?![\w+])", user)
    texts = {q.id: q.request.messages[1].content for q in asked}
    for number in range(PAIRS):
        nothing, listed, graph, shuffled = (texts[f"p{number:03d}-{c}"] for c in CONTEXTS)
        assert "%" not in nothing and "worst first" in listed
        assert "Reasons tested" not in listed and "Reasons tested" in graph
        assert graph != shuffled and len(listed) > 2 * len(nothing)
        assert nothing.rpartition("Two more")[2] == shuffled.rpartition("Two more")[2]


def test_a_placebo_holds_no_true_fact_on_the_winner(known: KnownLog) -> None:
    margins = [n for n in known.graph.of_kind("observation") if "versus" in n.body]
    assert margins
    shown = permuted(known.graph, 0, {known.spec.reference})
    assert not any("versus" in node.body for node in shown.nodes.values())
    # What a lesson did follows from results as well.
    assert forecasting._lessons("graph-permuted", {"L1": (2, 1)}) == {"L1": (0, 0)}
    assert forecasting._lessons("graph", {"L1": (2, 1)}) == {"L1": (2, 1)}
    assert forecasting._lessons("list", {"L1": (2, 1)}) == {}


def test_a_skipped_recipe_of_a_placebo_names_no_best_one() -> None:
    graph = Graph()
    graph.add("C1", "mechanism", {"formula": "abs(W)"})
    body = {"status": "skipped", "detail": "unlikely to come within reach of C5"}
    graph.add("C1.skipped", "result", body)
    graph.link("C1.skipped", "tests", "C1")
    placebo = permuted(graph, 0)
    assert placebo.nodes["C1.skipped"].body["detail"] == ""
    assert graph.nodes["C1.skipped"].body["detail"]


def test_a_record_asks_the_same_questions_of_another_reader(
    log: Path, known: KnownLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasting, "publish", lambda *args, **more: None)
    folder, record = tmp_path / "asked", tmp_path / "record"
    words = ["forecasting", "--log", str(log), "--pairs", "10", "--folder", str(folder)]
    held = ["--held-out", "0.5", "--record", str(record)]
    folder.mkdir()
    for name in CONTEXTS:
        (folder / f"p000-{name}.answer.txt").write_text("better: A\n")
    monkeypatch.setattr("sys.argv", [*words, *held])
    forecasting.main()
    hidden = held_out(known, 0.5, 0)
    made = list(questions(known, drawn_pairs(known, 10, 0, hidden), CONTEXTS, 4000, 0, hidden))
    again = recorded_questions(record, 10, CONTEXTS, 0)
    for one, other in zip(made, again, strict=True):
        assert (one.id, one.truth, one.recipes) == (other.id, other.truth, other.recipes)
        assert one.request == other.request
    assert len({q.request for q in again}) == 40
    monkeypatch.setattr("sys.argv", ["forecasting", "--like", str(record), "--log", str(log)])
    with pytest.raises(SystemExit):
        forecasting.main()
    monkeypatch.setattr("sys.argv", [*words, "--record", str(record)])
    forecasting.main()
    with pytest.raises(SystemExit, match="held-out"):
        recorded_questions(record, 10, CONTEXTS, 0)


def test_questions_are_files_that_anybody_answers(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = []
    monkeypatch.setattr(
        forecasting, "publish", lambda *args, **more: published.append((args, more))
    )
    words = ["--log", str(log), "--pairs", "10", "--folder", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["forecasting", *words])
    forecasting.main()
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == len(list(tmp_path.glob("*.md"))) == 40
    assert not published
    before = {path: path.read_bytes() for path in files}
    body = json.loads(files[0].read_text())
    assert body["request"]["grammar"] == forecasting.GRAMMAR and "truth" not in body
    known = read_log(log)
    for question in questions(known, drawn_pairs(known, 10, 0), CONTEXTS, 4000, 0):
        wrong = {"A": "B", "B": "A"}[question.truth]
        right = question.context == "graph" or question.pair.number % 2
        text = f"I think\nbetter: {question.truth if right else wrong}\n"
        (tmp_path / f"{question.id}.answer.txt").write_text(text)
    forecasting.main()
    assert before == {path: path.read_bytes() for path in files}
    (((_, _, rows), more),) = published
    assert [row["hits"] for row in rows] == [5, 5, 10, 5]
    assert rows[2]["against list"].startswith("+5 -0 ")
    assert len(more["results"]) == 40


def test_a_designer_is_asked_for_a_word_within_the_question_s_budget(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(forecasting, "ask", lambda *args: asked.append(args))
    words = ["--log", str(log), "--pairs", "10", "--folder", str(tmp_path), "--tokens", "900"]
    monkeypatch.setattr("sys.argv", ["forecasting", *words, "--designer", "self"])
    forecasting.main()
    ((_, questions_asked, spec, _),) = asked
    assert len(questions_asked) == 40
    assert (spec.kind, spec.prompt_tokens, spec.answer_tokens) == ("self", 900, 16)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"better: A\n", "A"),
        (b"B", "B"),
        (b"A is good, yet\nbetter: B", "B"),
        (b"A or B", None),
        (b"", None),
        (b"\xff\xfe" * 900, None),
        (b"better: neither", None),
    ],
)
def test_answers_are_read_or_are_none(tmp_path: Path, text: bytes, found: str | None) -> None:
    (tmp_path / "p000-list.answer.txt").write_bytes(text)
    assert read_answer(tmp_path, "p000-list") == found
    (tmp_path / "link.answer.txt").symlink_to(tmp_path / "p000-list.answer.txt")
    (tmp_path / "folder.answer.txt").mkdir()
    assert [read_answer(tmp_path, name) for name in ("link", "folder", "gone")] == [None] * 3


def test_pairs_that_only_one_answered_decide_nothing(known: KnownLog) -> None:
    assert mcnemar({0: True, 1: True, 2: False}, {0: False, 1: True, 3: True}) == (1, 0, 1.0)
    assert mcnemar(dict.fromkeys(range(6), True), dict.fromkeys(range(6), False))[2] == 2 / 64
    asked = list(questions(known, drawn_pairs(known, 4, 0), ("list", "graph"), 4000, 0))
    answers = {q.id: q.truth if q.context == "list" else None for q in asked}
    rows = graded(asked, answers, ("list", "graph"))
    assert [(row["answered"], row["against list"]) for row in rows] == [(4, "-"), (0, "-")]


def test_a_log_of_another_version_gives_recipes_and_results(
    log: Path, known: KnownLog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(folder: Path) -> Search:
        raise known_log.UsageError("another version planned it")

    monkeypatch.setattr(known_log.Search, "open", refused)
    alone = read_log(log)
    assert "another version" in capsys.readouterr().err
    assert set(alone.measured) == set(known.measured)
    one, other = known.measured[1], known.measured[-1]
    assert alone.compare(one, other) == known.compare(one, other)
    assert not list(alone.graph.of_kind("hypothesis")) and list(known.graph.of_kind("hypothesis"))
    with pytest.raises(known_log.UsageError, match=LOG_FILE):
        read_log(log.parent)


def test_a_reader_who_remembers_meets_no_held_out_recipe_but_in_its_pairs(known: KnownLog) -> None:
    hidden = held_out(known, 0.5, 1)
    assert known.spec.reference not in hidden and len(hidden) > 3
    pairs = drawn_pairs(known, PAIRS, 3, hidden)
    assert pairs and all({pair.first, pair.second} <= hidden for pair in pairs)
    for question in questions(known, pairs, CONTEXTS, 4000, 0, hidden):
        user = question.request.messages[1].content
        for alias in hidden:
            assert not re.search(rf"(?<![\w+]){re.escape(alias)}(?![\w+])", user)
    with pytest.raises(SystemExit, match="not a share"):
        held_out(known, 1.0, 1)
