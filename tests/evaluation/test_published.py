"""The benchmark of published figures: its prunings on a tiny model, its skips without a hub."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autoprune.errors import UsageError
from autoprune.models.structure import prunable_linears
from autoprune.text.corpora import Corpus
from benchmarks import published
from benchmarks.__main__ import CATALOGUE
from benchmarks.known import Known
from benchmarks.published import METHODS, TARGETS, Target, crops, prune, reproduce
from tests.support.tiny_subject import tiny_subject


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
@pytest.mark.parametrize("method", METHODS)
def test_half_of_the_weights_go(method: str, pattern: str) -> None:
    subject = tiny_subject()
    calibration = torch.randint(2, 258, (4, 32), generator=torch.Generator().manual_seed(0))
    prune(subject, Target("tiny", method, pattern, 32, 1.0, ""), calibration)
    for linear in prunable_linears(subject.model):
        zero = linear.read() == 0
        if method == "dense":
            assert not zero.any()
            continue
        assert int(zero.sum()) == zero.numel() // 2
        if pattern == "2:4":
            assert (zero.view(-1, 4).sum(1) == 2).all()
        elif method == "wanda":
            assert (zero.sum(1) == zero.shape[1] // 2).all()


def test_what_cannot_be_loaded_is_skipped_with_its_reason(tmp_path: Path) -> None:
    target = Target("nobody/no-such-model", "wanda", "2:4", 2048, 60.91, "a paper")
    (row,) = reproduce(target.model, [target], torch.float32, Known(tmp_path / "rows", []))
    assert row["measured"] == "-" and "nobody/no-such-model" in row["note"]
    assert row["note"].startswith("skipped: ")


def documents(monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
    rows = [{"text": text} for text in texts]
    hub = SimpleNamespace(fetch=lambda split: rows, column="text")
    monkeypatch.setattr(published, "C4", hub)


def test_memory_that_runs_out_loses_no_other_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    full = True

    def pruned(loaded: Any, target: Target, calibration: Any) -> None:
        tried.append(target.method)
        prune(loaded, target, calibration)
        if target.method == "wanda" and full:
            raise torch.OutOfMemoryError("out of memory")

    documents(monkeypatch, "abc " * 20)
    monkeypatch.setattr(published, "load_model", lambda *_, **__: tiny_subject())
    monkeypatch.setattr(published, "load_corpus", lambda _: Corpus.of("test", ["some text " * 9]))
    monkeypatch.setattr(published, "prune", pruned)
    monkeypatch.setattr(published, "SAMPLES", 2)
    targets = [Target("tiny", method, "unstructured", 16, 9.0, "a paper") for method in METHODS]

    def rows() -> dict[str, dict[str, Any]]:
        known = Known(tmp_path / "rows", ["code"])
        return {row["method"]: row for row in reproduce("tiny", targets, torch.float32, known)}

    first = rows()
    assert tried == list(first) == list(METHODS)
    assert first["wanda"]["measured"] == "-" and "out of memory" in first["wanda"]["note"]
    measured = {name: row["measured"] for name, row in first.items() if name != "wanda"}
    assert all(value > 1 for value in measured.values())
    full = False
    second = rows()
    assert tried[4:] == ["wanda"] and second["wanda"]["measured"] > 1
    assert {name: row["measured"] for name, row in second.items() if name != "wanda"} == measured


def test_crops_are_drawn_from_long_documents_and_never_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = tiny_subject().tokenizer
    documents(monkeypatch, "short", "x" * 40, "short too")
    assert crops(tokenizer, 3, 16).shape == (3, 16)
    monkeypatch.setattr(published, "_TRIES", 50)
    with pytest.raises(UsageError, match="of 50 documents drawn from C4 none is longer than 64 "):
        crops(tokenizer, 3, 64)


def test_it_is_listed_and_covers_every_method() -> None:
    assert "published" in CATALOGUE and "compact" in CATALOGUE
    assert {target.method for target in TARGETS} == set(METHODS)
    assert {"facebook/opt-125m", "meta-llama/Llama-2-7b-hf"} <= {t.model for t in TARGETS}
