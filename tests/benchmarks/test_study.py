"""The study's two claims, on a record whose answer is known, and on one that was measured."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import measured, study, table
from benchmarks.evidence.records import EvidenceError, Record
from benchmarks.measured import ROOT
from tests.support.benchmark_run import run

# Higher losses of a family and of a text; items and draws differ besides.
FAMILY = {"depth:criterion=influence": 0.5, "depth": 0.7, "width": 0.1, "rotate": 0.3}
TEXT = {"prose": 0.0, "own": -0.2}
# How far a draw moves the figures of a text.
SPREAD = {"prose": 0.3, "own": 0.1}


def made(*, without: str = "") -> Record:
    """A record of 12 windows and 3 draws, where depth is 0.4 above width and own text 0.2 below."""
    rng = np.random.default_rng(0)
    losses: dict[tuple[str, str], Any] = {("dense", ""): {0: np.ones(12)}}
    cells: dict[tuple[str, str], Any] = {}
    for scheme, more in FAMILY.items():
        for text, less in TEXT.items():
            place = (f"{scheme}@{text}", "20 %")
            base = 3 + more + less
            noise = rng.normal(0, 0.01, 12)
            losses[place] = {draw: base + noise + SPREAD[text] * (draw - 1) for draw in range(3)}
            items = [1.0 if more > 0.4 else 0.0] * 4
            rows = [
                {"metric": "accuracy", "name": "part", "items": items[:2]},
                {"metric": "accuracy", "name": "all", "items": items},
                {"metric": "size", "name": "all", "items": []},
            ]
            suites = {} if without == place[0] else {"words": {"rows": rows}}
            cells[place] = {draw: {"suites": suites} for draw in range(3)}
    return Record(Path("made"), {}, losses, cells)


def test_depth_is_set_against_width_and_each_text_against_the_first() -> None:
    cells = study.cells_of(made())
    assert {cell.family for cell in cells} == {"depth", "width"}
    families = study.depth_less_width(cells)
    assert list(families) == [(study.LOSS, "20 %"), ("words accuracy all", "20 %")]
    assert families[study.LOSS, "20 %"].mean == pytest.approx(0.4, abs=0.02)
    assert families["words accuracy all", "20 %"].mean == 1
    texts = study.texts_less_first(cells)
    own, steadier = texts[study.LOSS, "own"]
    assert own.mean == pytest.approx(-0.2, abs=0.02)
    assert own.draws == 3 and own.windows == 12
    assert steadier == pytest.approx(1 / 3)
    # What does not vary has no ratio.
    assert texts["words accuracy all", "own"][1] is None
    row = study.described(cells)[0]
    assert row["text"] == "prose" and row["words accuracy all"] == "1 ± 0"
    low, mean, high = (np.exp(3.5 + shift) for shift in (-0.3, 0, 0.3))
    assert float(row["sealed perplexity"].split()[0]) == pytest.approx(
        (low + mean + high) / 3, rel=0.01
    )


def test_a_cell_without_items_is_named() -> None:
    with pytest.raises(EvidenceError, match="depth@own at 20 % lacks words accuracy all"):
        study.cells_of(made(without="depth@own"))


def test_a_measured_record_comes_to_its_published_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (table, measured):
        monkeypatch.setattr(module, "OUT", tmp_path)
    made = run(study, monkeypatch, tmp_path, str(ROOT / "evidence" / "chains-depth"))
    first = made["rows"][0]
    assert first["text"] == "generic" and first["sealed perplexity"] == "60.41 ± 1.5"
