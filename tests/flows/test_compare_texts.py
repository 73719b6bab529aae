"""The axis of calibration texts: the same sealed windows, another text to calibrate on."""

import json
import math
from pathlib import Path

import pyarrow.parquet
import pytest

from tasks.state import State
from tasks.track import Tracker
from tests.support.command_line import CommandLine
from tests.support.mlflow_runs import children_of
from tests.support.small_comparison import SMALL, Compared
from tests.support.tiny_texts import sharing_sealed


@pytest.fixture
def other(text_file: Path, tmp_path: Path) -> Path:
    return sharing_sealed(text_file, tmp_path)


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
    client = Tracker(State.open(home)).client
    children = children_of(client, found["mlflow_run"])
    assert {run.data.params.get("calibration") for run in children} == {None, *names}

    # From the record alone, without the model and the texts, and with another baseline.
    monkeypatch.setenv("AUTOPRUNE_HOME", str(tmp_path / "empty"))
    line = f"compare --from {tmp_path / 'record'}"
    assert cli.record(line)["details"] == json.loads(json.dumps(found["details"]))
    assert cli.record(f"{line} --baseline wanda")["baselines"] == list(rows)[1:]


def test_study_answers_with_the_line_that_does_it(cli: CommandLine) -> None:
    shown = "study is now `autoprune compare`"
    cli.refuses("study matrix.yaml --json", shown, "--calibration-text generic=")
