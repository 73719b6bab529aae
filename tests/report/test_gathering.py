"""A finished search becomes a report without losing an entry, a node or an answer."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autoprune.design.chat import ChatRequest
from autoprune.design.transports import ScriptedDesigner
from autoprune.plain_text import in_markdown
from autoprune.report.canvas import number
from autoprune.report.data import Point, RunReport
from autoprune.report.gathering import with_search
from autoprune.report.page import html, page
from autoprune.report.sentences import protocol, summary, trust
from autoprune.search import Search, SearchBudget, proposer
from tests.support.html_page import assert_inert
from tests.support.synthetic import Synthetic, drive, make_spec, write_answer

BARE = RunReport("r", "2026-04-12T22:10:04+00:00", "synthetic", "none", 0.6, 20.0, ())


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    spec = make_spec(
        fitness="kl", also_sparsities=(0.5,), draws=2, budget=SearchBudget(candidates=26)
    )
    with (
        pytest.MonkeyPatch.context() as patched,
        Search.open(tmp_path_factory.mktemp("search"), spec) as search,
    ):
        patched.setattr(proposer, "REFLECT_EVERY", 1)
        drive(search, Synthetic(ScriptedDesigner(answer)))
        yield search


def answer(request: ChatRequest) -> str:
    lesson = "lesson:" in request.messages[-1].content
    return "lesson: norms of inputs help" if lesson else write_answer(request)


def test_every_entry_is_there_with_its_figures(search: Search) -> None:
    report = with_search(BARE, search)
    known = {entry.alias: entry for entry in search.entries}
    assert {entry.id for entry in report.entries} == set(known)
    assert search.best is not None
    assert report.winner is not None
    assert report.winner.id == search.best.alias
    assert report.baseline("wanda") is not None
    for entry in report.entries:
        found = known[entry.id].measurement
        assert entry.perplexity == (found.perplexity if found else None)
        assert bool(entry.code) == (known[entry.id].status in ("rejected", "duplicate"))
        # Masks alone are the metric's, whatever the repair would have done to them.
        own = "select=own" in entry.solver and "not applied" not in entry.solver
        assert entry.metric_counts != (own and entry.group == "row")
    assert not all(entry.metric_counts for entry in report.entries)
    ranks = [entry.rank for entry in report.ranked]
    assert ranks == list(range(1, len(ranks) + 1))


def test_what_few_windows_gave_masks_alone_does_not_pass_for_the_recipe(search: Search) -> None:
    report = with_search(BARE, search)
    known = {entry.alias: entry for entry in search.entries}
    few = [entry for entry in report.entries if 1 in known[entry.id].results]
    alone = {entry.id for entry in few if known[entry.id].proxied}
    assert alone and len(alone) < len(few)
    assert {entry.id for entry in report.entries if entry.masks_alone} == alone
    # Its name stays, since figures of several runs are found by it.
    assert all("few windows" in entry.rungs for entry in few)
    labels = {node.alias: node.label for node in report.nodes}
    for entry in few:
        label = labels.get(f"{entry.id}.r1", "")
        assert not label or ("masks alone" in label) == (entry.id in alone)


def test_the_whole_graph_is_there_with_prompts_and_answers(search: Search) -> None:
    report = with_search(BARE, search)
    assert [n.alias for n in report.nodes] == list(search.graph.nodes)
    standing = [edge for edge in search.graph.edges if search.graph.stands(edge)]
    assert len(report.edges) == len(standing)
    asked = [e for e in search.history() if e["step"]["kind"] == "Propose"]
    answers = {e["outcome"]["text"] for e in asked}
    shown = {n.body["answer"] for n in report.nodes if "answer" in n.body}
    assert shown == answers
    kinds = {n.kind for n in report.nodes if "prompt" in n.body}
    assert {"hypothesis", "mechanism", "lesson"} <= kinds
    # Every claim that somebody wrote opens to the question and the answer.
    claims = [n for n in report.nodes if n.kind in ("hypothesis", "critique", "lesson")]
    assert all(n.body["prompt"] and n.body["answer"] for n in claims)
    for node in report.nodes:
        if "answer" in node.body and node.kind == "mechanism":
            assert node.body["because"] in node.body["answer"]


def test_ranks_follow_what_the_search_ranks_by(search: Search) -> None:
    report = with_search(BARE, search)
    known = {entry.alias: entry.score for entry in search.entries}
    scores = [known[entry.id] for entry in report.ranked]
    assert scores == sorted(scores) and len(scores) > 3
    assert all(entry.kl is not None for entry in report.ranked)


def test_it_renders_and_survives_json(search: Search) -> None:
    report = with_search(BARE, search)
    assert RunReport.from_json(report.to_json()) == report
    text = page(report, {})
    winner, best = report.winner, search.best
    assert winner is not None and best is not None
    # Draws, other sparsities, the lead and what it rests on are in the page.
    assert winner.draws == (best.results[2].perplexity, best.draws[1].perplexity)
    assert f": {number(winner.draws[0])}, {number(winner.draws[1])}\n" in text
    assert winner.curve == (Point(0.5, best.elsewhere[0.5].perplexity),)
    assert f"%: {number(winner.curve[0].perplexity)}\n" in text
    printed = " ".join([*summary(report), *trust(report)])
    assert f"the distance to the dense model of {winner.alias} is" in printed
    times = {check.name: check.times for check in report.checks}["dense"]
    assert times >= 4 and "against wanda" in printed and f"dense {times}×" in printed
    spec = search.spec
    assert f"on {spec.selection_windows} selection and {spec.sealed_windows} sealed" in printed
    assert f"windows of {spec.seqlen} tokens of {BARE.corpus}, joined" in printed
    assert "weights and loss in float32; statistics" in printed
    rounded = protocol(replace(report, spec={**report.spec, "precision": "bfloat16"}))
    assert "loss in float32, products on selection text in bfloat16; statistics" in rounded
    assert f"Few windows ranked {report.rung_pairs} recipes" in printed
    assert report.layer_pairs >= 3
    assert f"real layers ranked {report.layer_pairs} masks" in printed
    assert f"rank correlation of {report.layer_correlation:.2f}" in printed
    assert all(in_markdown(sentence) in text for sentence in trust(report))
    assert_inert(html("run", text))


def test_a_running_search_can_be_shown(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec()) as search:
        for stop in (1, 4, 9):
            drive(search, Synthetic(), stop=lambda count, stop=stop: count == stop)
            report = with_search(BARE, search)
            assert_inert(html("run", page(report, {})))
        assert any(entry.verdict == "unmeasured" for entry in report.entries)
