"""The study's two claims, on a record whose answer is known, and on one that was measured."""

import json
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


def made(*, without: str = "", missing: str = "", other: str = "") -> Record:
    """A record of 12 windows and 3 draws, where depth is 0.4 above width and own text 0.2 below."""
    rng = np.random.default_rng(0)
    losses: dict[tuple[str, str], Any] = {("dense", ""): {0: np.ones(12)}}
    cells: dict[tuple[str, str], Any] = {}
    for scheme, more in FAMILY.items():
        for text, less in TEXT.items():
            place = (f"{scheme}@{text}", "20 %")
            if place[0] == missing:
                continue
            base = 3 + more + less
            noise = rng.normal(0, 0.01, 12)
            losses[place] = {draw: base + noise + SPREAD[text] * (draw - 1) for draw in range(3)}
            items = [1.0 if more > 0.4 else 0.0] * 4
            protocol = {"items": 5 if place[0] == other else 4}
            rows = [
                {"metric": "accuracy", "name": "part", "items": items[:2], "protocol": protocol},
                {"metric": "accuracy", "name": "all", "items": items, "protocol": protocol},
                {"metric": "size", "name": "all", "items": [], "protocol": protocol},
            ]
            suites = {} if without == place[0] else {"words": {"rows": rows}}
            cells[place] = {draw: {"suites": suites} for draw in range(3)}
    return Record(Path("made"), {}, losses, cells)


def test_depth_is_set_against_width_and_each_text_against_the_first() -> None:
    cells = study.cells_of(made())
    assert {cell.family for cell in cells} == {"depth", "width"}
    families = study.depth_less_width(cells)
    assert list(families) == [(study.LOSS, "20 %"), ("words accuracy", "20 %")]
    assert families[study.LOSS, "20 %"].mean == pytest.approx(0.4, abs=0.02)
    assert families["words accuracy", "20 %"].mean == 1
    texts = study.texts_less_first(cells)
    own, steadier = texts[study.LOSS, "own"]
    assert own.mean == pytest.approx(-0.2, abs=0.02)
    assert own.draws == 3 and own.windows == 12
    assert steadier == pytest.approx(1 / 3)
    # What does not vary has no ratio.
    assert texts["words accuracy", "own"][1] is None
    row = study.described(cells)[0]
    assert row["text"] == "prose" and row["words accuracy"] == "1 ± 0"
    low, mean, high = (np.exp(3.5 + shift) for shift in (-0.3, 0, 0.3))
    assert float(row["sealed perplexity"].split()[0]) == pytest.approx(
        (low + mean + high) / 3, rel=0.01
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"without": "depth@own"}, "depth@own at 20 % lacks words accuracy"),
        ({"missing": "rotate@own"}, "lacks rotate@own at 20 %, so nothing is balanced"),
        ({"other": "width@own"}, "words accuracy was measured by different protocols"),
    ],
)
def test_what_would_not_be_balanced_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        study.cells_of(made(**changes))


def test_other_draws_are_not_paired() -> None:
    record = made()
    place = ("width@own", "20 %")
    losses = {key: dict(draws) for key, draws in record.losses.items()}
    cells = {key: dict(draws) for key, draws in record.cells.items()}
    losses[place][3], cells[place][3] = losses[place].pop(0), cells[place].pop(0)
    with pytest.raises(EvidenceError, match=r"different draws, \[\(0, 1, 2\), \(1, 2, 3\)\]"):
        study.cells_of(Record(Path("made"), {}, losses, cells))


def test_a_measured_record_comes_to_its_published_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (table, measured):
        monkeypatch.setattr(module, "OUT", tmp_path)
    made = run(study, monkeypatch, tmp_path, str(ROOT / "evidence" / "chains-depth"))
    first = made["rows"][0]
    assert first["text"] == "generic" and first["sealed perplexity"] == "60.41 ± 1.5"
    # Corrected over the two texts alone, its p is a third of that over three measures.
    asked = str(ROOT / "evidence" / "chains-depth")
    run(study, monkeypatch, tmp_path, asked, "--measures", study.LOSS)
    (far, near) = json.loads((tmp_path / "study_texts.json").read_text())["rows"]
    assert (far["text"], far["p after Holm"]) == ("aligned", "p 0.016")
    assert near["measure"] == study.LOSS
    with pytest.raises(SystemExit):
        run(study, monkeypatch, tmp_path, asked, "--measures", "another")
