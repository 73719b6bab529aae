"""Pictures are valid, follow the data and stay readable for odd runs."""

import io
import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autoprune.report import plots
from autoprune.report.canvas import number, percent, plain
from autoprune.report.data import ReportEntry, RunReport
from autoprune.report.search_plots import pareto_front, spread
from tests.support.sample_run import make_report


def test_pictures_are_readable_images_that_follow_the_data() -> None:
    drawn, other = plots.pictures(make_report()), plots.pictures(make_report(seed=8))
    assert set(drawn) == {"progress", "leaderboard", "layers", "pareto", "graph"}
    for name, data in drawn.items():
        with Image.open(io.BytesIO(data)) as image:
            image.verify()
            assert image.format == "PNG" and 500 < image.width < 1600
        assert len(data) < 400_000
        assert name == "graph" or data != other[name], "other data, other picture"


def test_odd_runs_draw_what_they_have() -> None:
    empty = RunReport("r", "", "m", "c", 0.6, None, ())
    assert plots.pictures(empty) == {}
    rejected = ReportEntry("a", "C1", "candidate", "x", order=1, verdict="rejected", code="timeout")
    stopped = ReportEntry("b", "C2", "candidate", "x", order=2, verdict="stopped", perplexity=9e9)
    assert set(plots.pictures(replace(empty, entries=(rejected, stopped)))) == {"progress"}
    alone = ReportEntry("d", "C4", "candidate", "x", order=4, perplexity=31.0, sparsity=0.6,
                  layer_sparsity={"layers.0.a": 0.6})  # fmt: skip
    broken = replace(alone, id="c", order=3, perplexity=float("inf"))
    drawn = plots.pictures(replace(empty, entries=(rejected, stopped, broken, alone)))
    assert set(drawn) == {"progress", "leaderboard", "layers"}


def test_text_of_the_model_is_never_read_as_mathematics() -> None:
    entry = ReportEntry("a", r"$\frac{1}{$", "candidate", r"$\bad", order=1, perplexity=3.0,
                  allocation="$_$", layer_sparsity={"layers.0.a": 0.5})  # fmt: skip
    assert plots.pictures(RunReport("r", "", "m", "c", 0.5, 2.0, (entry,)))


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
