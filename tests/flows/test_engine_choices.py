"""Choices of the engine through the command line: generated text, allocations by measurement."""

import json
import math
import re
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
from tests.support.command_line import CommandLine
from tests.support.tiny_subject import broken_subject, save_subject

SMALL = "prune MODEL --metric wanda --calibration-windows 4 --seqlen 48"
AUTO = f"{SMALL} --corpus TEXT --allocation auto:ramp:half_width=0.3+sdsa --sparsity 0.5"
OTHER = str.maketrans("abcdefghij", "jihgfedcba")


def test_self_generated_text_calibrates_streamed_or_not(cli: CommandLine, tmp_path: Path) -> None:
    line = f"{SMALL} --corpus self-generated:seed=2 --calibration-windows 2 --seqlen 16"
    streaming = f"{line} --stream --out {tmp_path / 'out'}"
    # The whole model writes, so streaming takes only what was written before.
    cli.refuses(f"{streaming} -q", "without --stream")
    record = cli.record(line)
    assert str(record["corpus"]).startswith("self-generated/")
    streamed = cli.record(streaming)
    assert streamed["corpus_digest"] == record["corpus_digest"]
    assert streamed["mask_digest"] == record["mask_digest"]
    # Its own words are no measure of a model.
    shown = cli(f"{streaming} --overwrite").out
    advice = rf"^next +autoprune evaluate {tmp_path / 'out'} --part selection --seqlen 16$"
    assert re.search(advice, shown, re.MULTILINE)


def test_auto_decides_on_the_selection_part_under_the_repair_and_says_what_it_tried(
    cli: CommandLine, tmp_path: Path
) -> None:
    shown = cli(f"{AUTO} --repair mrp --out {tmp_path / 'out'}").out
    record = json.loads((tmp_path / "out" / "autoprune.json").read_text())
    choice: Any = record["allocation_choice"]
    tried = {item["allocation"]: item["loss"] for item in choice["tried"]}
    assert list(tried) == ["uniform", "ramp:half_width=0.3", "sdsa"]
    repaired = {item["allocation"]: item["loss"] for item in choice["repaired"]}
    others = [text for text in tried if text != "uniform"]
    assert list(repaired) == ["uniform", min(others, key=tried.__getitem__)]
    assert record["allocation"] == choice["best"] == min(repaired, key=repaired.__getitem__)
    # A person reads which two were repaired and what that gave.
    assert f"after the repair {list(repaired)[1]} {repaired[list(repaired)[1]]:.4f} nats" in shown
    # Straight-line: the dense model pruned uniformly, by its own scores, and repaired block after
    # block, each measured on the selection part.
    parts = split(load_corpus(str(cli.places["TEXT"])))
    assert choice["split"] == {"seed": 0, "digest": parts.digest}
    assert choice["selection"]["corpus"].endswith("/selection")
    for repair, losses in (("none", tried), ("walk:mrp", repaired)):
        loaded = load_model(str(cli.places["MODEL"]))
        seen, unseen = (
            token_windows(text, loaded.tokenizer, count, 48)
            for text, count in ((parts.calibration, 4), (parts.selection, 8))
        )
        known = {} if repair != "none" else {"statistics": collect_statistics(loaded.model, seen)}
        plan = PruningPlan.build(0.5, repair=repair)
        prune(loaded.model, MetricScore(build_metric("wanda")), plan, windows=seen, **known)
        loss = math.log(evaluate_windows(loaded.model, unseen).perplexity)
        assert losses["uniform"] == pytest.approx(loss, abs=1e-5)
    assert repaired["uniform"] != pytest.approx(tried["uniform"], abs=1e-5)


def test_auto_never_touches_the_sealed_part(cli: CommandLine, tmp_path: Path) -> None:
    text_file = cli.places["TEXT"]
    sealed = split(load_corpus(str(text_file))).sealed
    text = text_file.read_text(encoding="utf-8")
    assert text.endswith(sealed.text)
    changed = tmp_path / "changed.txt"
    # Same length, other letters: the parts are cut in the same places.
    changed.write_text(text[: -len(sealed.text)] + sealed.text.translate(OTHER), encoding="utf-8")
    first, second = (cli.record(AUTO, "--corpus", path) for path in (text_file, changed))
    assert first["allocation_choice"]["tried"] == second["allocation_choice"]["tried"]
    assert first["mask_digest"] == second["mask_digest"]


def test_auto_on_a_model_that_computes_no_number_says_so_and_saves_nothing(
    cli: CommandLine, tmp_path: Path
) -> None:
    cli.places["MODEL"] = save_subject(broken_subject(), tmp_path / "broken")
    shown = "uniform, ramp:half_width=0.3, sdsa the model's loss"
    cli.refuses(f"{AUTO} -q --out {tmp_path / 'out'}", shown, code=3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("auto:ramp+rampe", "did you mean ramp"),
        ("auto:ramp++owl", "is not understood"),
        ("auto --pattern 2:4 --sparsity 0.5", "can change nothing"),
        ("auto --metric metric.py", "many times"),
    ],
)
def test_auto_says_what_it_cannot_do(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("metric.py").write_text("def score(W, stats, params):\n    return W.abs()\n")
    cli.refuses(f"{SMALL} --corpus TEXT -q --allocation {words}", message)
