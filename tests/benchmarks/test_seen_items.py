"""The benchmark of accuracy on seen and on fresh items, on a tiny model."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import measured, seen_items, table
from benchmarks.evidence.records import read_record
from tests.support.benchmark_run import run


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "out"
    monkeypatch.setattr(table, "OUT", folder)
    monkeypatch.setattr(measured, "OUT", folder)
    return folder


def test_dated_problems_are_different_and_half_of_them_are_seen() -> None:
    items, others = seen_items.draw_problems(40, 3)
    questions = [problem.chain.question for problem in (*items, *others)]
    assert len(set(questions)) == 60 == len(questions)
    assert sum(problem.day <= seen_items.CUTOFF for problem in items) == 20
    assert (items, others) == seen_items.draw_problems(40, 3)
    for problem in items:
        assert problem.text.endswith(f"\\boxed{{{problem.answer}}}.") and problem.answer.isdigit()


def test_three_models_answer_seen_and_fresh_items_and_only_one_has_seen_any(
    tiny_folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    recover = seen_items._recover

    def noted(loaded: Any, problems: Any, file: Path, args: Any) -> None:
        recover(loaded, problems, file, args)
        read.append(file.read_text(encoding="utf-8"))

    monkeypatch.setattr(seen_items, "_recover", noted)
    words = ["--model", str(tiny_folder), "--items", "6", "--calibration-windows", "2"]
    words += ["--seqlen", "64", "--new-tokens", "4", "--recipe", "wanda+recover:steps=2,batch=1"]
    words += ["--way", "recover"]
    made = run(seen_items, monkeypatch, out, *words, "--record", str(out / "record"))
    names = [row["model"] for row in made["rows"]]
    assert names == ["dense", "recovered on other items", "recovered on the seen items"]
    items = [json.loads(x) for x in (out / "seen_items" / "items.jsonl").read_text().splitlines()]
    other, seen = read
    for item in items:
        question = json.dumps(item["question"])[1:-1]
        assert question not in other
        assert (question in seen) == (item["date"] <= seen_items.CUTOFF.isoformat())
    counts = read_record(out / "record").counts
    assert all(len(counts[name][seen_items.SEEN]["items"]) == 3 for name in names)
    assert all(counts[name][seen_items.SLOPE]["value"] is not None for name in names)


def test_a_trained_model_predicts_its_text_and_the_dense_one_less(
    tiny_folder: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--model", str(tiny_folder), "--items", "4", "--new-tokens", "4", "--epochs", "8"]
    made = run(seen_items, monkeypatch, out, *words, "--rate", "0.01")
    names = [row["model"] for row in made["rows"]]
    assert names == ["dense", "trained on other items", "trained on the seen items"]
    epochs = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    losses = [float(line.rpartition(" ")[2]) for line in epochs]
    assert len(losses) == 16 and losses[7] < losses[0] - 1 and losses[15] < losses[8] - 1
