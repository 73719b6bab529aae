"""Choices of the engine through the command line: generated text, allocations by measurement."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.metrics import build_metric
from autoprune.models.loading import load_model
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.statistics.statistics import collect_statistics
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from flows.cli import main
from tests.support.tiny_subject import broken_subject, save_subject

SMALL = ["--metric", "wanda", "--calibration-windows", "4", "--seqlen", "48", "--json"]


def pruned(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object]]:
    code = main(["prune", *SMALL, *words])
    said = capsys.readouterr()
    return code, json.loads(said.out or said.err)


def test_self_generated_text_calibrates_streamed_or_not(
    tiny_folder: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_folder), "--corpus", "self-generated:seed=2"]
    out = ["--out", str(tmp_path / "out")]
    # The whole model writes, so streaming takes only what was written before.
    code, refused = pruned(capsys, *model, "--stream", *out)
    assert code == 2 and "without --stream" in str(refused)
    code, record = pruned(capsys, *model)
    assert code == 0 and str(record["corpus"]).startswith("self-generated/")
    code, streamed = pruned(capsys, *model, "--stream", *out)
    assert code == 0
    assert streamed["corpus_digest"] == record["corpus_digest"]
    assert streamed["mask_digest"] == record["mask_digest"]


def test_nothing_is_measured_on_generated_text(
    tiny_folder: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["evaluate", "--model", str(tiny_folder), "--corpus", "self-generated", *SMALL[4:]])
    assert code == 2 and "never measure" in capsys.readouterr().err


AUTO = ["--allocation", "auto:ramp:half_width=0.3+sdsa", "--sparsity", "0.5"]


def test_auto_measures_on_the_selection_part_and_says_what_it_tried(
    tiny_folder: Path,
    text_file: Path,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = ["--model", str(tiny_folder)]
    out = tmp_path / "out"
    code, record = pruned(capsys, *model, "--corpus", str(text_file), *AUTO, "--out", str(out))
    assert code == 0
    choice: Any = record["allocation_choice"]
    losses = {item["allocation"]: item["loss"] for item in choice["tried"]}
    assert list(losses) == ["uniform", "ramp:half_width=0.3", "sdsa"]
    assert record["allocation"] == choice["best"] == min(losses, key=lambda text: losses[text])
    assert choice["selection"]["corpus"].endswith("/selection")
    saved = json.loads((out / "autoprune.json").read_text())
    assert saved["allocation_choice"]["tried"] == choice["tried"]
    # Straight-line: the dense model pruned uniformly, measured on the selection part.
    parts = split(load_corpus(str(text_file)))
    assert saved["allocation_choice"]["split"] == {"seed": 0, "digest": parts.digest}
    loaded = load_model(str(tiny_folder))
    seen, unseen = (
        token_windows(text, loaded.tokenizer, count, 48)
        for text, count in ((parts.calibration, 4), (parts.selection, 8))
    )
    statistics = collect_statistics(loaded.model, seen)
    score = MetricScore(build_metric("wanda"))
    prune(loaded.model, score, PruningPlan(0.5), statistics=statistics)
    loss = math.log(evaluate_windows(loaded.model, unseen).perplexity)
    assert losses["uniform"] == pytest.approx(loss, abs=1e-5)


def test_auto_decides_under_the_repair_and_says_both_losses(
    tiny_folder: Path, text_file: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_folder), "--corpus", str(text_file), "--repair", "mrp"]
    code, record = pruned(capsys, *model, *AUTO)
    assert code == 0
    choice: Any = record["allocation_choice"]
    tried = {item["allocation"]: item["loss"] for item in choice["tried"]}
    repaired = {item["allocation"]: item["loss"] for item in choice["repaired"]}
    others = [text for text in tried if text != "uniform"]
    assert list(repaired) == ["uniform", min(others, key=tried.__getitem__)]
    assert record["allocation"] == choice["best"] == min(repaired, key=repaired.__getitem__)
    # Straight-line: equal budgets from the dense model's scores, repaired block after block.
    parts = split(load_corpus(str(text_file)))
    loaded = load_model(str(tiny_folder))
    seen, unseen = (
        token_windows(text, loaded.tokenizer, count, 48)
        for text, count in ((parts.calibration, 4), (parts.selection, 8))
    )
    plan = PruningPlan.build(0.5, solver="walk:mrp")
    prune(loaded.model, MetricScore(build_metric("wanda")), plan, windows=seen)
    loss = math.log(evaluate_windows(loaded.model, unseen).perplexity)
    assert repaired["uniform"] == pytest.approx(loss, abs=1e-5)
    assert repaired["uniform"] != pytest.approx(tried["uniform"], abs=1e-5)
    # A person reads which two were repaired and what that gave.
    assert main(["prune", *SMALL[:-1], *model, *AUTO]) == 0
    said = capsys.readouterr().out
    assert f"after the repair {list(repaired)[1]} {repaired[list(repaired)[1]]:.4f} nats" in said


def test_auto_never_touches_the_sealed_part(
    tiny_folder: Path,
    text_file: Path,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sealed = split(load_corpus(str(text_file))).sealed
    text = text_file.read_text(encoding="utf-8")
    assert text.endswith(sealed.text)
    changed = tmp_path / "changed.txt"
    # Same length, other letters: the parts are cut in the same places.
    changed.write_text(text[: -len(sealed.text)] + sealed.text.translate(OTHER), encoding="utf-8")
    model = ["--model", str(tiny_folder)]
    records = [
        pruned(capsys, *model, "--corpus", str(path), *AUTO)[1] for path in (text_file, changed)
    ]
    choices: list[Any] = [record["allocation_choice"] for record in records]
    assert choices[0]["tried"] == choices[1]["tried"]
    assert records[0]["mask_digest"] == records[1]["mask_digest"]


def test_auto_on_a_model_that_computes_no_number_says_so_and_saves_nothing(
    text_file: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = save_subject(broken_subject(), tmp_path / "broken")
    words = ["--model", str(broken), "--corpus", str(text_file)]
    code, said = pruned(capsys, *words, *AUTO, "--out", str(tmp_path / "out"))
    assert code == 3
    assert "uniform, ramp:half_width=0.3, sdsa the model's loss" in str(said["error"])
    assert not (tmp_path / "out").exists()


OTHER = str.maketrans("abcdefghij", "jihgfedcba")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--allocation", "auto:ramp+rampe"], "did you mean ramp"),
        (["--allocation", "auto:ramp++owl"], "is not understood"),
        (["--allocation", "auto", "--pattern", "2:4", "--sparsity", "0.5"], "can change nothing"),
        (["--allocation", "auto", "--stream", "--out", "new"], "never holds"),
        (["--allocation", "auto", "--metric", "metric.py"], "many times"),
        (["--allocation", "auto", "--corpus", "self-generated"], "never measure"),
    ],
)
def test_auto_says_what_it_cannot_do(
    tiny_folder: Path,
    text_file: Path,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("metric.py").write_text("def score(W, stats, params):\n    return W.abs()\n")
    code, record = pruned(capsys, "--model", str(tiny_folder), "--corpus", str(text_file), *words)
    assert code == 2 and message in str(record)
