"""A finished search becomes a report without losing an entry, a node or an answer."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_html import assert_inert, packed

from autoprune.report.data import RunReport
from autoprune.report.gathering import with_search
from autoprune.report.html import render
from autoprune.search import Search

sys.path.append(str(Path(__file__).parents[1] / "search"))
from synthetic import Synthetic, drive, make_spec

BARE = RunReport("r", "2026-04-12T22:10:04+00:00", "synthetic", "none", 0.6, 20.0, ())


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    with Search.open(tmp_path_factory.mktemp("search"), make_spec()) as search:
        drive(search, Synthetic())
        yield search


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
    ranks = [entry.rank for entry in report.ranked]
    assert ranks == list(range(1, len(ranks) + 1))


def test_the_whole_graph_is_there_with_prompts_and_answers(search: Search) -> None:
    report = with_search(BARE, search)
    assert [n.alias for n in report.nodes] == list(search.graph.nodes)
    assert len(report.edges) == len(search.graph.edges)
    asked = [e for e in search.history() if e["step"]["kind"] == "Propose"]
    answers = {e["outcome"]["text"] for e in asked if ".s" in e["step"]["step_id"]}
    shown = {n.body["answer"] for n in report.nodes if "answer" in n.body}
    assert shown == answers
    for node in report.nodes:
        if "answer" in node.body and node.kind == "mechanism":
            assert node.body["because"] in node.body["answer"]


def test_it_renders_and_survives_json(search: Search) -> None:
    report = with_search(BARE, search)
    assert RunReport.from_json(report.to_json()) == report
    text = render(report)
    assert_inert(text)
    assert len(packed(text)) == len(report.nodes)


def test_a_running_search_can_be_shown(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec()) as search:
        for stop in (1, 4, 9):
            drive(search, Synthetic(), stop=lambda count, stop=stop: count == stop)
            report = with_search(BARE, search)
            assert_inert(render(report))
        assert any(entry.verdict == "unmeasured" for entry in report.entries)
