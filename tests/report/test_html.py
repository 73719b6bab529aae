"""One file, no request, no foreign script, small, and true to the data."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoprune.report.data import RunReport
from autoprune.report.html import render, write_html
from autoprune.report.markup import graph_picture
from tests.support.browser import browser
from tests.support.html_page import Page, assert_inert, packed
from tests.support.sample_run import make_report
from tests.support.sketched import sketch

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


@pytest.fixture(scope="module")
def page() -> str:
    """The page of the sample run; eight pictures are most of the time that it takes."""
    return render(make_report())


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words beside pictures that nobody looks at."""
    sketch(monkeypatch)


@pytest.mark.usefixtures("sketched")
def test_a_metric_without_a_part_in_the_recipe_is_not_claimed() -> None:
    report = make_report()
    printed = "the metric has no part in it"
    assert printed not in render(report)
    winner = report.winner
    assert winner is not None
    entries = tuple(
        replace(e, metric_counts=False) if e.id == winner.id else e for e in report.entries
    )
    assert printed in render(replace(report, entries=entries))


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize(
    ("interval", "shown"),
    [((-0.3, -0.1), "better"), ((0.1, 0.3), "worse"), ((-0.4, 0.2), ""), (None, "")],
)
def test_a_change_is_coloured_only_where_its_interval_leaves_no_doubt(
    interval: tuple[float, float] | None, shown: str
) -> None:
    report = make_report(4)
    entries = tuple(replace(e, change_interval=interval) for e in report.entries)
    classes = set(re.findall(r'"num change ?([a-z]*)"', render(replace(report, entries=entries))))
    assert classes == {shown}


@pytest.mark.usefixtures("sketched")
def test_a_figure_of_masks_alone_is_marked() -> None:
    report = make_report(4)
    assert "<small>masks alone</small>" not in render(report)
    (first, *rest) = report.candidates
    few = replace(first, verdict="stopped", code="", detail="", perplexity=150.0,
                  masks_alone="few windows", rungs={"few windows": 150.0})  # fmt: skip
    text = render(replace(report, entries=(*report.entries[:6], few, *rest)))
    assert text.count('class="num ppl alone"') == text.count("<small>masks alone</small>") == 1


def test_self_contained(page: str) -> None:
    assert_inert(page)


def test_only_our_script_may_run(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy.group(1)
    assert "script-src 'sha256-" in policy.group(1)
    assert "unsafe-eval" not in policy.group(1)


def test_hostile_text_in_every_field_stays_text(page: str) -> None:
    hostile = poisoned(make_report())
    text = render(hostile)
    assert_inert(text)
    assert page.count("<script") == text.count("<script")
    words = "".join(Page(text).words)
    assert "<script>document.title='pwned'</script>" in words, "shown, not dropped"
    assert "{{ 7 * 7 }}" in words
    assert "\x1b" not in text and "\u202e" not in text
    assert len(packed(text)) == len(hostile.nodes)
    picture = ET.fromstring(graph_picture(hostile))
    tags = {element.tag.rpartition("}")[2] for element in picture.iter()}
    assert tags == {"svg", "style", "rect", "text", "path", "g", "title"}
    keys = {key for element in picture.iter() for key in element.keys()}  # noqa: SIM118
    assert not [key for key in keys if key.startswith("on") or "href" in key]


def test_what_people_look_for_is_there(page: str) -> None:
    report = make_report()
    words = "".join(Page(page).words)
    assert report.winner is not None
    for entry in report.entries:
        assert entry.alias in words
        assert entry.code.replace("_", " ") in words
    for split in report.splits:
        assert split.digest[:12] in words
    shared = "calibration with selection 3 of 52 (8 words); calibration with selection 0 of 52 (10"
    assert shared in words
    assert report.command in words
    assert all(command.text in words for command in report.next_commands)
    nodes = packed(page)
    prompt = next(n.body["prompt"] for n in report.nodes if "prompt" in n.body)
    assert any(node["body"].get("prompt") == prompt for node in nodes)
    assert all(isinstance(link[2], int) for node in nodes for link in node["links"])


def test_under_two_megabytes_with_long_texts_of_a_hundred_candidates() -> None:
    assert len(render(make_report(100)).encode()) < 1_000_000
    report = make_report(100)
    long = "".join(chr(33 + (i * i + 7 * i) % 90) for i in range(60_000))
    entries = tuple(
        replace(e, reasoning=long[i:], source=long) for i, e in enumerate(report.entries)
    )
    nodes = tuple(
        replace(n, body={"prompt": long[i * 50 :], "answer": long[::-1]})
        for i, n in enumerate(report.nodes)
    )
    text = render(replace(report, entries=entries, nodes=nodes))
    assert len(text.encode()) < 2_000_000
    assert "more characters are in the JSON record" in text
    many = render(make_report(600))
    assert len(many.encode()) < 2_000_000
    assert "more recipes are in the JSON record" in many


@pytest.mark.usefixtures("sketched")
def test_honest_words_when_nothing_is_better() -> None:
    report = make_report(6)
    nothing = replace(report, entries=tuple(e for e in report.entries if e.kind == "baseline"))
    assert "None of them could be measured" in render(nothing)
    worse = replace(
        report,
        entries=tuple(
            replace(e, verdict="accepted", perplexity=400.0, change_vs_wanda=1.4)
            if e.kind == "candidate" and e.measured
            else e
            for e in report.entries
        ),
    )
    assert "None beat Wanda" in render(worse)
    close = replace(
        report,
        entries=tuple(
            replace(e, change_vs_wanda=-0.01, change_interval=(-0.03, 0.02))
            if e.kind == "candidate" and e.measured
            else e
            for e in report.entries
        ),
    )
    assert "it may be chance" in render(close)


def test_the_page_claims_no_sealed_figure_before_there_is_one(page: str) -> None:
    assert "measured on sealed text at its end" in page
    report = make_report()
    entries = tuple(replace(entry, sealed_perplexity=None) for entry in report.entries)
    spec = {**report.spec, "fitness": "kl"}
    early = render(replace(report, entries=entries, sparsity=0.625, goal="", spec=spec))
    assert "at its end" not in early and "nothing on sealed text" in early
    assert "62.5 %" in early and "best by distance to the dense model first" in early


def test_an_empty_run_still_has_a_page(tmp_path: Path) -> None:
    empty = RunReport("r", "", "m", "c", 0.6, None, ())
    write_html(empty, tmp_path / "report.html")
    assert_inert((tmp_path / "report.html").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_browser_runs_our_script_and_no_other(tmp_path: Path) -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine")
    for name, report in (("plain", make_report()), ("hostile", poisoned(make_report()))):
        page = tmp_path / f"{name}.html"
        write_html(report, page)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                   "--disable-background-networking", "--virtual-time-budget=3000",
                   f"--user-data-dir={tmp_path / ('profile-' + name)}", "--dump-dom"]  # fmt: skip
        done = subprocess.run(
            [program, *options, page.as_uri()], capture_output=True, text=True, timeout=120
        )
        assert re.search(r"<title>.* at 60 % · AutoPrune</title>", done.stdout), name
        assert 'class="node-detail" aria-live="polite"><h3>' in done.stdout, name
        assert done.stdout.count('class="copied"') >= 3 or name == "hostile"


@pytest.mark.slow
def test_the_page_fits_windows_of_every_width(tmp_path: Path) -> None:
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("no chromium with its driver on this machine")
    report = make_report()
    # Names as long as those of real starts.
    nodes = tuple(replace(n, alias="wanda+ramp+sparsegpt+ebft") for n in report.nodes[:9])
    page = tmp_path / "report.html"
    write_html(replace(report, nodes=(*nodes, *report.nodes[9:])), page)
    with browser() as opened:
        for width in (390, 768, 1280):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            opened.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            opened.driver.get(page.as_uri())
            seen = opened.driver.execute_script(_MEASURED)
            assert seen["inner"] == width
            assert seen["page"] <= width, f"the page scrolls sideways at {width} px"
            # Beside its two margins of ten; wide letters are rare in names.
            assert seen["title"] <= 138 - 10, f"a title leaves its box at {width} px"


_MEASURED = """
return {
  inner: window.innerWidth,
  page: document.documentElement.scrollWidth,
  title: Math.max(
    ...Array.from(document.querySelectorAll(".node .t"), (title) => title.getComputedTextLength()),
  ),
}
"""
