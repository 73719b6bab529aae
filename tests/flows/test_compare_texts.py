"""The axis of calibration texts: the same sealed windows, another text to calibrate on."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from autoprune.errors import UsageError
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split
from tasks.mirror import tracker_of
from tasks.state import State
from tests.support.command_line import CommandLine
from tests.support.mlflow_runs import children_of
from tests.support.small_comparison import SMALL, Compared

REASONING = "reasoning:generators=digits,items=3,shots=0,new_tokens=2"


@pytest.fixture
def other(text_file: Path, tmp_path: Path) -> Path:
    """Another text, with one document that is the compared text's sealed part."""
    sealed = split(load_corpus(str(text_file))).sealed
    path = tmp_path / "other.jsonl"
    own = [f"other words {i} stand here, {i + 1} of them or {i * i} more" for i in range(300)]
    lines = [json.dumps({"text": text}) for text in [sealed.text, *own]]
    path.write_text("\n".join(lines))
    return path


def test_every_method_that_reads_text_is_measured_on_each(
    compared: Compared, text_file: Path, other: Path, home: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, cli: CommandLine,
) -> None:  # fmt: skip
    plain = compared("magnitude,wanda")
    assert "calibration_texts" not in plain["protocol"]
    missing, out = tmp_path / "missing.txt", tmp_path / "out"
    texts = [f"generic={text_file}", f"aligned={other}", "own=self-generated", f"gone={missing}"]
    asked = {"calibration_text": texts, "out": str(out), "record": str(tmp_path / "record")}
    found = compared("magnitude,wanda", **asked)
    rows = {row["method"]: row for row in found["rows"]}
    names = ("generic", "aligned", "own", "gone")
    assert list(rows) == ["magnitude", *(f"wanda@{name}" for name in names)]
    assert [row["calibration"] for row in rows.values()] == [None, *names]
    # The dense model, two draws of magnitude and two on the compared text are on record already.
    assert (found["cached"], found["measured"], found["failed"]) == (5, 4, 2)
    old = {row["method"]: row for row in plain["rows"]}
    assert rows["wanda@generic"]["perplexity"] == old["wanda"]["perplexity"]
    assert len({row["perplexity"] for row in rows.values()}) == 5
    assert rows["wanda@gone"]["status"] == "unavailable"
    assert "missing.txt' does not exist" in rows["wanda@gone"]["reason"]
    assert found["protocol"]["sealed_digest"] == plain["protocol"]["sealed_digest"]

    # A text against another is paired window by window and draw by draw.
    assert found["baseline"] == "wanda@generic"
    cells: dict[str, list[list[float]]] = {}
    for cell in json.loads((out / "comparison.json").read_text())["cells"]:
        if cell["record"]["status"] == "ok":
            cells.setdefault(cell["method"], []).append(cell["record"]["sealed"]["nll"])
    pairs = [
        a - b
        for own, base in zip(cells["wanda@own"], cells["wanda@generic"], strict=True)
        for a, b in zip(own, base, strict=True)
    ]
    change = math.expm1(math.fsum(pairs) / len(pairs))
    assert rows["wanda@own"]["change"] == pytest.approx(change)
    assert rows["wanda@own"]["paired_draws"] == 2 and rows["wanda@own"]["interval"]

    # What the record says of the texts.
    facts = found["protocol"]["calibration_texts"]
    assert facts["aligned"]["overlap"]["dropped"] == 1
    assert facts["own"]["pool"] == 2 * SMALL["calibration_windows"]
    assert len(set(found["protocol"]["draw_digests"])) == 6
    assert facts["generic"]["draw_digests"] == plain["protocol"]["draw_digests"]
    lines = dict(found["protocol_lines"])
    assert "1 of 301 documents left out" in lines["text aligned"]
    assert "does not exist" in lines["text gone"]
    table = pyarrow.parquet.read_table(out / "comparison.parquet").to_pylist()
    assert [row["calibration"] for row in table] == [None, *names]
    assert "wanda@own" in (out / "comparison.tex").read_text()
    client = tracker_of(State.open(home)).client
    children = children_of(client, found["mlflow_run"])
    assert {run.data.params.get("calibration") for run in children} == {None, *names}

    # From the record alone, without the model and the texts, and with another baseline.
    monkeypatch.setenv("AUTOPRUNE_HOME", str(tmp_path / "empty"))
    line = f"compare --from {tmp_path / 'record'}"
    assert cli.record(line)["details"] == json.loads(json.dumps(found["details"]))
    assert cli.record(f"{line} --baseline wanda")["baselines"] == list(rows)[1:]


def test_suites_leave_out_what_any_of_the_texts_holds_for_all_cells_alike(
    compared: Compared, text_file: Path, other: Path
) -> None:
    # The third text is measured on by a suite, and calibrates one of two methods.
    suite = f"lm:corpora={other},windows=4,seqlen=32"
    small = {"suite": suite, "draws": 1, "seqlen": 128, "calibration_windows": 8}
    texts = [f"one={text_file}", f"two={other}"]
    free = compared("wanda", **small)
    kept = compared("wanda", calibration_text=texts, **small)

    def values(result: dict[str, Any]) -> list[float]:
        return [row["measures"][0]["value"] for row in result["rows"]]

    assert values(kept)[0] != values(free)[0]
    again = compared("wanda", calibration_text=texts, **small)
    assert again["measured"] == 0 and values(again) == values(kept)
    # The distance leaves nothing out, so one more draw is one more cell.
    near = small | {"suite": "lm"}
    assert compared("wanda", calibration_text=texts[1:], **near)["failed"] == 0
    more = compared("wanda", calibration_text=texts[1:], **(near | {"draws": 2}))
    assert (more["measured"], more["failed"]) == (1, 0)


def test_a_suite_on_another_text_leaves_out_what_may_calibrate(
    compared: Compared, text_file: Path, other: Path, home: Path
) -> None:
    calibration = split(load_corpus(str(text_file))).calibration.text
    copied = other.with_name("copied.jsonl")
    copied.write_text(other.read_text() + "\n" + json.dumps({"text": calibration}))
    suite = f"lm:corpora={copied},part=all,windows=6,seqlen=32"
    found = compared(suite=suite, draws=1, seqlen=128, calibration_windows=8)
    assert found["failed"] == 0
    files = (home / "comparison" / "cells").glob("*/*.json")
    kept = [json.loads(file.read_text()) for file in files]
    rows = [row for cell in kept for row in cell["record"].get("rows", ())]
    # It may be in any draw, so the dense model's figures leave it out too.
    dropped = [r["details"]["overlap"]["dropped"] for r in rows if "overlap" in r["details"]]
    assert len(kept) == 4 and len(dropped) >= 2 and min(dropped) > 0


def test_the_own_calibration_part_may_be_short_where_texts_are_named(
    compared: Compared, text_file: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short.txt"
    short.write_text("\n\n".join(text_file.read_text().split("\n\n")[:8]))
    small = {"corpus": str(short), "calibration_windows": 64, "sealed_windows": 1}
    with pytest.raises(UsageError, match="the calibration part of the text holds"):
        compared("wanda", selection_windows=1, **small)
    found = compared(
        "wanda", selection_windows=1, calibration_text=[f"long={text_file}"], draws=1, **small
    )
    assert found["failed"] == 0 and found["rows"][0]["perplexity"] > 1


def test_a_comparison_on_texts_of_which_none_is_there_says_so(
    compared: Compared, tmp_path: Path
) -> None:
    found = compared("magnitude,wanda", calibration_text=[f"gone={tmp_path / 'missing.txt'}"])
    rows = {row["method"]: row for row in found["rows"]}
    assert "does not exist" in rows["wanda@gone"]["reason"]
    assert rows["magnitude"]["status"] == "ok"


def test_study_answers_with_the_line_that_does_it(cli: CommandLine) -> None:
    shown = "study is now `autoprune compare`"
    cli.refuses("study matrix.yaml --json", shown, "--calibration-text generic=")
