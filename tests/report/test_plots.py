"""Pictures are valid, follow the data and stay readable for odd runs."""

import io
import itertools
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autoprune.errors import UnknownNameError
from autoprune.report import plots
from autoprune.report.canvas import CSS_VARIABLES, number, percent, plain
from autoprune.report.data import ReportEntry, RunReport
from autoprune.report.search_plots import pareto_front, spread
from tests.support.sample_run import make_report

NAMES = ["progress", "leaderboard", "layers", "pareto"]


@pytest.fixture(scope="module")
def report() -> RunReport:
    return make_report()


@pytest.mark.parametrize("name", NAMES)
def test_png_is_an_image_of_readable_size_and_follows_the_data(
    report: RunReport, name: str
) -> None:
    data = plots.png(report, name)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
        assert image.format == "PNG"
        assert 900 < image.width < 1400
    assert len(data) < 400_000
    assert data == plots.png(report, name), "same data, same picture"
    assert data != plots.png(make_report(seed=8), name), "other data, other picture"


@pytest.mark.parametrize("size", ["wide", "narrow"])
@pytest.mark.parametrize("name", NAMES)
def test_svg_is_xml_in_page_colours_with_its_own_ids(
    report: RunReport, name: str, size: plots.Size
) -> None:
    text = plots.svg(report, name, size)
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    assert root.get("aria-label")
    ids = [element.get("id", "") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(item.startswith(f"{name}-{size}-") for item in ids)
    assert not any(colour in text for colour in CSS_VARIABLES)
    assert "<style" not in text


def test_odd_runs_draw_what_they_have() -> None:
    empty = RunReport("r", "", "m", "c", 0.6, None, ())
    assert plots.names(empty) == []
    assert plots.files(empty) == {}
    with pytest.raises(UnknownNameError, match="progress"):
        plots.png(empty, "progress")
    rejected = ReportEntry("a", "C1", "candidate", "x", order=1, verdict="rejected", code="timeout")
    stopped = ReportEntry("b", "C2", "candidate", "x", order=2, verdict="stopped", perplexity=9e9)
    assert set(plots.files(replace(empty, entries=(rejected, stopped)))) == {"progress.png"}
    alone = ReportEntry("d", "C4", "candidate", "x", order=4, perplexity=31.0, sparsity=0.6,
                  layer_sparsity={"layers.0.a": 0.6})  # fmt: skip
    broken = replace(alone, id="c", order=3, perplexity=float("inf"))
    drawn = plots.files(replace(empty, entries=(rejected, stopped, broken, alone)))
    assert set(drawn) == {"progress.png", "leaderboard.png", "layers.png"}


def test_text_of_the_model_is_never_read_as_mathematics() -> None:
    entry = ReportEntry("a", r"$\frac{1}{$", "candidate", r"$\bad", order=1, perplexity=3.0,
                  allocation="$_$", layer_sparsity={"layers.0.a": 0.5})  # fmt: skip
    report = RunReport("r", "", "m", "c", 0.5, 2.0, (entry,))
    for name in plots.names(report):
        assert plots.png(report, name)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1, 1e6)), min_size=1, max_size=20))
def test_front_holds_exactly_the_points_that_no_other_beats(
    points: list[tuple[float, float]],
) -> None:
    front = pareto_front(points)
    beaten = {p for p in points for q in points if q != p and q[0] >= p[0] and q[1] <= p[1]}
    assert set(front) == set(points) - beaten
    assert front == sorted(front)


@given(st.lists(st.floats(-5, 5), max_size=12))
def test_labels_are_pushed_apart_and_keep_their_order(values: list[float]) -> None:
    placed = spread(sorted(values), 0.5)
    assert len(placed) == len(values)
    assert all(b - a >= 0.5 - 1e-9 for a, b in itertools.pairwise(placed))
    assert sum(placed) == pytest.approx(sum(values), abs=1e-6)


def test_figures_for_people() -> None:
    assert [number(v) for v in (None, 2.345, 24.61, 1388.4, 4.2e5, float("nan"))] == [
        "–", "2.35", "24.6", "1,388", "4.2e+05", "not finite",
    ]  # fmt: skip
    assert percent(-0.123, sign=True) == "−12.3 %"
    assert percent(-0.0004, sign=True) == "0.0 %"
    assert plain("a\x00\n\u202eb" + "x" * 50, 8) == "a   bxx…"
