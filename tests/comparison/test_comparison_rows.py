"""Rows, advice and all forms of the table from records that are known to the last digit."""

import json
import math
import statistics
from pathlib import Path

import pyarrow.parquet
import pytest

from autoprune.comparison.documents import escape, latex, markdown, overview
from autoprune.comparison.measured import Measured, pair
from autoprune.comparison.result import Comparison, gather
from autoprune.comparison.writing import FILES, write_all
from tests.support.comparison_records import BASE, PROTOCOL, body, cell, moved, record


@pytest.fixture
def known() -> Comparison:
    return gather(
        body(
            cell("wanda", record(moved(0.0), 1.0)),
            cell("wanda+ramp", record(moved(-0.2), 0.8), trials=2, measured_as="wanda+ramp:x"),
            cell("ria", record(moved(-0.1), 0.9)),
            cell("wanda", record(moved(0.1), 1.1), 1),
            cell("wanda+ramp", record(moved(-0.1), 0.9), 1, trials=2, measured_as="wanda+ramp:x"),
            cell("ria", {"status": "unavailable", "reason": "no room | left"}, 1),
        )
    )


def test_mean_deviation_and_change_are_exact(known: Comparison) -> None:
    mean = math.fsum(BASE) / 6
    row = known.row("wanda+ramp", "50 %")
    assert row is not None and row.seeds == 2 and row.zeros == 500 and row.notes == 2
    per_draw = [math.exp(mean - 0.2), math.exp(mean - 0.1)]
    assert row.perplexity == pytest.approx(statistics.fmean(per_draw), rel=1e-12)
    assert row.deviation == pytest.approx(statistics.stdev(per_draw), rel=1e-12)
    # Losses averaged over draws differ by exactly 0.2 in every window.
    assert row.against.change == pytest.approx(math.expm1(-0.2), rel=1e-9)
    assert row.against.interval == pytest.approx((math.expm1(-0.2),) * 2, rel=1e-9)
    assert row.against.distinguishable
    assert known.baseline == "wanda" and known.dense == pytest.approx(math.exp(mean - 0.5))


def test_a_missing_draw_makes_the_row_unavailable(known: Comparison) -> None:
    row = known.row("ria", "50 %")
    assert row is not None
    assert (row.status, row.reason, row.perplexity) == ("unavailable", "no room | left", None)


def test_without_wanda_rows_are_against_dense() -> None:
    found = gather(body(cell("ria", record(moved(0.25), 1.0))))
    assert found.baseline == "dense"
    assert found.rows[0].against.change == pytest.approx(math.expm1(0.75))
    assert found.rows[0].deviation is None


def test_advice_is_chosen_on_selection_and_says_what_the_seal_shows(known: Comparison) -> None:
    (advice,) = known.advice
    assert advice.method == "wanda+ramp" and advice.ties == ()
    assert "as wanda+ramp:x" in advice.text and "show a difference" in advice.text


def test_advice_names_ties_and_the_cheaper_one() -> None:
    noise = [value + (0.3 if index % 2 else -0.3) for index, value in enumerate(BASE)]
    found = gather(
        body(cell("wanda", record(BASE, 1.0, 1.0)), cell("wanda+mrp", record(noise, 0.9, 20.0)))
    )
    (advice,) = found.advice
    assert advice.method == "wanda+mrp" and advice.ties == ("wanda",)
    assert "do not tell it apart" in advice.text and "wanda is the cheaper one" in advice.text


def test_advice_does_not_choose_by_the_seal() -> None:
    found = gather(body(cell("wanda", record(BASE, 0.9)), cell("ria", record(moved(-0.3), 1.0))))
    (advice,) = found.advice
    assert advice.method == "wanda" and "would spend the seal" in advice.text


def test_destroyed_models_are_figures_and_never_recommended(tmp_path: Path) -> None:
    broken = record([*BASE[:5], math.inf], math.inf)
    found = gather(body(cell("wanda", record(BASE, 1.0)), cell("ria", broken)))
    row = found.row("ria", "50 %")
    assert row is not None and row.perplexity == math.inf and row.against.interval is None
    assert found.best("50 %") == "wanda"
    alone = gather(body(cell("ria", broken)))
    assert alone.advice[0].method is None
    assert "∞" in markdown(alone)
    # No word that other readers of JSON do not know.
    write_all(tmp_path, body(cell("ria", broken)))
    kept = json.loads((tmp_path / "comparison.json").read_text(), parse_constant=pytest.fail)
    assert kept["rows"][0]["perplexity"] is None


def test_one_window_has_no_interval() -> None:
    target = {"label": "50 %"}
    one, other = (Measured("m", "m", target, 0, [record([nll], 1.0)], [0]) for nll in (1.0, 0.5))
    assert pair(one, other).found is None and pair(one, other).mean == pytest.approx(0.5)


def test_all_forms_hold_the_same_figures(known: Comparison, tmp_path: Path) -> None:
    raw = body(cell("wanda", record(BASE, 1.0)), cell("ria", record(moved(-0.1), 0.9)))
    kept = write_all(tmp_path / "out", raw)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    table = pyarrow.parquet.read_table(tmp_path / "out" / "comparison.parquet").to_pylist()
    stored = json.loads((tmp_path / "out" / "comparison.json").read_text())
    for row, again, third in zip(table, stored["rows"], kept["rows"], strict=True):
        assert row["perplexity"] == again["perplexity"] == third["perplexity"]
        assert [row["interval_low"], row["interval_high"]] == list(again["interval"] or [None] * 2)
        assert row["sealed_digest"] == PROTOCOL["sealed_digest"]
    assert stored["cells"] == raw["cells"]
    text = markdown(known)
    assert r"unavailable: no room \| left" in text and "500 of 1,000" in text
    assert "read 7 times" in text and "| **" in text
    shared = "calibration with selection 2 of 9 and 0 of 9, selection with sealed 2 of 9 and 0 of 9"
    assert f"share 8 and 10 words after the drop: {shared}" in text
    assert "seconds (shared statistics apart)" in text
    assert stored["command"] == "again m" and text.endswith("```\nagain m\n```\n")
    made = latex(known)
    assert made.count(r"\\") == 5 and "\\textbf{" in made and "50 \\%" in made
    assert (tmp_path / "out" / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_the_commits_that_measured_are_named(known: Comparison) -> None:
    assert known.commits == ("89" * 20,)
    assert "autoprune 0, commit 898989898989, torch 2, transformers 5" in markdown(known)
    older = record(BASE, 1.0) | {"commit": "ab" * 20 + " with changes"}
    mixed = markdown(gather(body(cell("wanda", older))))
    assert "commit 898989898989, cells also of commit abababababab with changes, torch" in mixed
    installed = record(BASE, 1.0) | {"commit": None}
    raw = body(cell("wanda", installed)) | {"dense": installed}
    raw["protocol"] = PROTOCOL | {"commit": None}
    assert "commit" not in markdown(gather(raw))


def test_cells_of_another_number_of_threads_are_named(known: Comparison) -> None:
    own = PROTOCOL["machine"]["threads"]
    ends = f"{own} threads\n"
    assert ends in markdown(known)
    same = record(BASE, 1.0) | {"machine": {"processor": "p", "threads": own}}
    assert ends in markdown(gather(body(cell("wanda", same))))
    other = same | {"machine": {"processor": "p", "threads": own + 1}}
    mixed = gather(body(cell("wanda", same), cell("ria", other)))
    assert mixed.threads == (own, own + 1)
    assert f"{own} threads, cells also with {own + 1} threads\n" in markdown(mixed)


def test_an_interrupted_run_says_so(known: Comparison) -> None:
    assert "unfinished" not in markdown(known)
    cut = gather(body(cell("wanda", record(BASE, 1.0))) | {"planned": 5})
    assert "unfinished: 1 of 5 cells so far" in markdown(cut)
    assert "the only one with a figure" in cut.advice[0].text


def test_pairs_are_over_the_draws_that_both_have() -> None:
    """The third draw is far easier: over different draws wanda+ramp would look 20 % better."""
    found = gather(
        body(
            cell("wanda", record(moved(0.0), 1.0)),
            cell("wanda+ramp", record(moved(0.1), 1.1)),
            cell("wanda", record(moved(0.2), 1.2), 1),
            cell("wanda+ramp", record(moved(0.3), 1.3), 1),
            cell("wanda+ramp", record(moved(-2.0), 0.1), 2),
        )
        | {"planned": 6, "protocol": PROTOCOL | {"seeds": 3, "draw_digests": ["ab"] * 3}}
    )
    row, base = found.row("wanda+ramp", "50 %"), found.row("wanda", "50 %")
    assert row is not None and base is not None
    assert (row.seeds, row.against.draws, base.seeds, base.against.draws) == (3, 2, 2, 2)
    assert row.against.change == pytest.approx(math.expm1(0.1), rel=1e-9)
    assert row.against.interval == pytest.approx((math.expm1(0.1),) * 2, rel=1e-9)
    (advice,) = found.advice
    assert advice.method == "wanda"
    mean = (math.exp(1.0) + math.exp(1.2)) / 2
    assert f"({mean:.2f} over the 2 draws that all have)" in advice.text
    assert "Pairs are over the draws that both have, at least 2 of 3." in advice.text
    text = markdown(found)
    assert "(2 of 3 draws)" in text and "over 2 draws of both" in text
    (line,) = [line for line in overview(found) if line[0] == "wanda"]
    assert "(2 of 3 draws)" in line[1] and "(2 of 3 draws)" in latex(found)
    # The same draws everywhere: no note on it.
    same = gather(body(cell("wanda", record(BASE, 1.0)), cell("ria", record(BASE, 1.1))))
    assert "draws that" not in same.advice[0].text


def test_methods_without_a_common_draw_are_not_paired() -> None:
    found = gather(body(cell("wanda", record(BASE, 1.0)), cell("ria", record(moved(-0.5), 0.9), 1)))
    row = found.row("ria", "50 %")
    assert row is not None and (row.against.change, row.against.draws) == (None, None)
    assert "over different draws" in found.advice[0].text


def test_selection_has_a_deviation_over_draws(known: Comparison) -> None:
    row = known.row("wanda", "50 %")
    assert row is not None
    values = [math.exp(1.0), math.exp(1.1)]
    assert row.selection_deviation == pytest.approx(statistics.stdev(values), rel=1e-12)


def test_latex_escapes_everything_special() -> None:
    assert escape("a_b & 5 % {x} ± −") == r"a\_b \& 5 \% \{x\} $\pm$ $-$"
