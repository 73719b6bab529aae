"""The page of a run: one text for Prefect and for the HTML file, inert and true to the data."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from autoprune.report.data import RunReport
from autoprune.report.page import LARGEST_PAGE, html, page, write_html
from autoprune.report.plots import pictures
from tests.support.html_page import Page, assert_inert
from tests.support.sample_run import make_report

PAYLOADS = [
    "<script>document.title='pwned'</script>",
    '"><img src=x onerror="document.title=\'pwned\'">',
    "' onmouseover='document.title=1' x='",
    "</script><script>document.title='pwned'</script>",
    "</style></title><svg onload=document.title='pwned'>",
    "</textarea><iframe srcdoc='<script>parent.document.title=1</script>'>",
    "javascript:document.title='pwned'",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}{$ ]]> <!-- &lt;script&gt; \u202e\x00\x1b[31m \ud83d",
    "<a href='https://example.org/'>x</a><link rel=stylesheet href=//example.org>",
    "`${document.title='pwned'}`",
]
KEPT = {"kind", "verdict", "schema_version", "id", "entry", "source_id", "parents"}


def poisoned(report: RunReport) -> RunReport:
    """The same run with hostile text in every field and every key that text can reach."""
    count = 0

    def poison(value: Any, key: str) -> Any:
        nonlocal count
        if isinstance(value, dict):
            free = key in ("body", "cost", "rungs", "machine", "spec", "layer_sparsity")
            return {
                (poison(k, "") if free else k): poison(v, "" if free else k)
                for k, v in value.items()
            }
        if isinstance(value, list):
            return [poison(item, key) for item in value]
        if not isinstance(value, str) or key in KEPT or not value:
            return value
        count += 1
        return PAYLOADS[count % len(PAYLOADS)] + str(count)

    value = report.to_json()
    edges = value.pop("edges")
    hostile: dict[str, Any] = poison(value, "")
    for place, node in enumerate(hostile["nodes"]):
        if place % 5 == 0:
            node["kind"] = PAYLOADS[place % len(PAYLOADS)]
    for place, edge in enumerate(edges):
        if place % 5 == 0:
            edge["kind"] = PAYLOADS[place % len(PAYLOADS)]
    return RunReport.from_json({**hostile, "edges": edges})


def test_hostile_text_in_every_field_stays_text() -> None:
    hostile = poisoned(make_report())
    markdown = page(hostile, pictures(hostile))
    text = html(hostile.run_id, markdown)
    assert_inert(text)
    # A reader that passes HTML through, as Prefect's may, finds none either.
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    assert {tag for tag, _ in Page(shown).tags} <= {tag for tag, _ in Page(text).tags}
    words = "".join(Page(text).words)
    assert "{{ 7 * 7 }}" in words, "shown, not run"
    assert "\x1b" not in text and "\u202e" not in text


def test_nothing_may_load_or_run() -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html("x", "text"))
    assert policy is not None and policy.group(1).startswith("default-src 'none'; img-src data:;")


def test_what_people_look_for_is_there() -> None:
    report = make_report()
    text = page(report, pictures(report))
    words = "".join(Page(html(report.run_id, text)).words)
    assert report.winner is not None
    for entry in report.entries:
        assert entry.alias in words and entry.code in words
    for split in report.splits:
        assert split.digest in words
    assert "calibration with selection: 3 of 52 documents share 8 words" in words
    assert report.command in words
    assert all(command.text in words for command in report.next_commands)
    assert text.count("data:image/png;base64,") == 5


def test_long_texts_of_hundreds_of_candidates_fit() -> None:
    report = make_report(600)
    long = "".join(chr(33 + (i * i + 7 * i) % 90) for i in range(60_000))
    entries = tuple(
        replace(e, reasoning=long[i:], source=long) for i, e in enumerate(report.entries)
    )
    text = page(replace(report, entries=entries), pictures(report))
    assert len(text.encode()) < LARGEST_PAGE
    assert "more recipes are in the JSON record" in text


def test_honest_words_when_nothing_is_better() -> None:
    report = make_report(6)
    nothing = replace(report, entries=tuple(e for e in report.entries if e.kind == "baseline"))
    assert "None of them could be measured" in page(nothing, {})
    for change, interval, words in (
        (1.4, None, "None beat Wanda"),
        (-0.01, (-0.03, 0.02), "it may be chance"),
    ):
        entries = tuple(
            replace(e, change_vs_wanda=change, change_interval=interval, verdict="accepted")
            if e.kind == "candidate" and e.measured
            else e
            for e in report.entries
        )
        assert words in page(replace(report, entries=entries), {})


def test_a_figure_of_masks_alone_and_a_metric_without_a_part_are_marked() -> None:
    report = make_report(4)
    plain = page(report, {})
    assert "(masks alone)" not in plain and "the metric has no part in it" not in plain
    assert report.winner is not None
    (first, *rest) = report.candidates
    few = replace(first, verdict="stopped", code="", detail="", perplexity=150.0,
                  masks_alone="few windows", rungs={"few windows": 150.0})  # fmt: skip
    entries = [
        replace(e, metric_counts=False) if e.id == report.winner.id else e
        for e in (*report.entries[:6], few, *rest)
    ]
    marked = page(replace(report, entries=tuple(entries)), {})
    assert marked.count("(masks alone)") == 1 and "the metric has no part in it" in marked


def test_an_empty_run_still_has_a_page(tmp_path: Path) -> None:
    empty = RunReport("r", "", "m", "c", 0.6, None, ())
    write_html(tmp_path / "report.html", "r", page(empty, {}))
    assert_inert((tmp_path / "report.html").read_text(encoding="utf-8"))
