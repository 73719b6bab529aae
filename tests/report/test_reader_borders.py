"""Where text of a language model reaches a reader: pages, notes, cards, terminals."""

import argparse
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from autoprune.progress import Progress
from autoprune.report.card import model_card
from autoprune.report.data import ReportEntry
from autoprune.report.leaderboard import LeaderboardRow, leaderboard
from autoprune.report.page import html, page
from flows.cli import main
from flows.search.leaderboard import closing_text, table
from flows.terminal.console import LiveScreen, PlainScreen
from flows.terminal.output import emit, pairs
from tasks.publish import table_row
from tasks.track.runs import NOTE, _entry_tags
from tests.support.sample_run import make_report

HOSTILE = (
    "![](http://evil.example/a.png)<img src=//evil.example/b.png>[link=http://evil.example]"
    "\x1b]8;;http://evil.example\x1b\\\x1b[2J\x9b1m\u202e\u2066\x07"
)


def quiet(text: str) -> None:
    """Nothing in the text moves a cursor or turns a direction."""
    assert all(mark.isprintable() or mark in "\n\t" for mark in text), ascii(text)


class Addresses(HTMLParser):
    """Every address in a page that is loaded or can be followed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]


def loads_nothing(markdown: str) -> None:
    """A page of this markdown asks no other machine, and links to none."""
    quiet(markdown)
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    assert not [one for one in Addresses(page).found if not one.startswith("data:image/png")]


def test_a_page_of_hostile_text_would_load() -> None:
    page = MarkdownIt("commonmark", {"html": True}).render(HOSTILE)
    assert len(Addresses(page).found) == 2


@pytest.fixture
def report() -> Any:
    """A run whose winner, and all that a designer wrote, is hostile."""
    run = make_report()
    entries = tuple(
        replace(
            entry,
            formula=f"abs(W) {HOSTILE}",
            reasoning=HOSTILE,
            detail=HOSTILE,
            allocation=f"ramp{HOSTILE}",
            model=HOSTILE,
            sealed_failure=HOSTILE,
            sealed_perplexity=None,
        )
        for entry in run.entries
    )
    return replace(run, entries=entries, designer=f"openai: {HOSTILE}", corpus=f"text {HOSTILE}")


def test_the_page(report: Any) -> None:
    loads_nothing(page(report, {}))
    quiet(html(HOSTILE, page(report, {})))


def test_rows_in_prefect() -> None:
    entry = ReportEntry("C1", HOSTILE, "candidate", HOSTILE, allocation=HOSTILE)
    for text in table_row(LeaderboardRow.of(entry), "Wanda").values():
        quiet(text)


def test_the_note_in_mlflow(report: Any) -> None:
    for entry in report.entries:
        loads_nothing(_entry_tags(entry)[NOTE])


def test_the_model_card(report: Any) -> None:
    winner = report.winner
    recipe = {
        "metric": {"kind": "python", "source": f"# ``` {HOSTILE}\n", "params": {}},
        "group": "row",
        "allocation": "uniform",
        "solver": "none",
    }
    checkpoint = {"zeros": 6, "prunable": 10, "total": 12, "sparsity": 0.6}
    record = {"checkpoint": checkpoint, "candidate": winner.id, "recipe": recipe, "seed": 0}
    record |= {"pattern": "unstructured", "mask_digest": "0" * 64, "model_digest": "1" * 64}
    loads_nothing(model_card(report, record, "").split("---", 2)[2])


def test_results_and_errors_on_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record: Mapping[str, Any] = {"file": HOSTILE}
    for json_too in (False, True):
        args = argparse.Namespace(json=json_too)
        emit(args, record, pairs(("accepted", HOSTILE), ("next", "a\nnext  rm -rf")))
    assert main(["evaluate", HOSTILE, "-v"]) == 2
    assert main(["ls", HOSTILE]) == 2
    logging.getLogger("autoprune").error("%s", HOSTILE)
    captured = capsys.readouterr()
    quiet(captured.out)
    quiet(captured.err)
    assert "\nnext  rm" not in captured.out
    last = captured.out[captured.out.index("{") :]
    assert json.loads(last)["file"] == HOSTILE


def test_what_is_seen_while_a_command_runs() -> None:
    stream = io.StringIO()
    screen = PlainScreen(stream)
    screen.event(f"designer: {HOSTILE}")
    screen.best(HOSTILE)
    quiet(stream.getvalue())
    live = LiveScreen(io.StringIO())
    live.bars.stop()
    out = io.StringIO()
    live.console = Console(file=out, no_color=True)
    live.event(f"designer: {HOSTILE}")
    live.best(HOSTILE)
    live.progress(Progress("masks", 1, 2, HOSTILE))
    quiet(out.getvalue())
    terminal = io.StringIO()
    Console(file=terminal, force_terminal=True, width=300).print(live.bars.get_renderable())
    live.close()
    # Colours are ours; an address behind a text (OSC 8) and all else is not.
    assert "evil.example" in terminal.getvalue() and "\x1b]" not in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue() and "\u202e" not in terminal.getvalue()


def test_the_leaderboard(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    rows = leaderboard(report)
    quiet(table(rows))
    record = {
        "leaderboard": [row.to_json() for row in rows],
        "model": HOSTILE,
        "sparsity": 0.6,
        "dense_perplexity": 20.0,
        "run": "demo",
        "facts": [HOSTILE],
        "notes": [HOSTILE],
        "report": HOSTILE,
        "registered": None,
        "checkpoint": HOSTILE,
        "next": "autoprune",
    }
    quiet(closing_text(record))
