"""The benchmark behind the presets of quality."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.quality import presets
from autoprune.text.corpus import Corpus
from benchmarks import quality
from benchmarks.quality import measured
from tests.support.tiny_subject import tiny_subject

MEASURED, KNOWN = presets()


def test_the_benchmark_measures_a_preset_and_leaves_the_model_dense() -> None:
    loaded = tiny_subject()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    known = replace(MEASURED, seqlen=16)
    small = replace(KNOWN[-1], windows=2, repair="mrp+ebft:epochs=1+recover:steps=2")
    text = Corpus.of("text", [" ".join(map(str, range(900)))])
    unseen = torch.arange(2, 66).reshape(4, 16)
    found = measured(loaded, text, unseen, known, small, "here")
    assert found.dense == evaluate_windows(loaded.model, unseen).perplexity != found.perplexity
    assert found.seconds > 0 and found.source == "here" and found.repair == small.repair
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_figures_of_an_accelerator_go_into_its_own_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "quality.json"
    file.write_text(quality.DATA.read_text())
    before = json.loads(file.read_text())["classes"]
    asked: list[str] = []

    def loading(ref: str, device: str) -> Any:
        asked.append(device)
        return SimpleNamespace(model=SimpleNamespace(num_parameters=lambda: 7), tokenizer=None)

    here = {"processor": "a CPU", "threads": 2, "accelerator": "a GPU"}
    for name, value in {
        "DATA": file,
        "default_device": lambda: "cuda:0",
        "load_model": loading,
        "token_windows": lambda *_: torch.zeros(1, 2),
        "speed": lambda device, _: {"cuda": 9.0}[device],
        "measured": lambda *words: replace(words[4], seconds=1.0),
        "hardware": lambda: here,
        "publish": lambda *_: None,
    }.items():
        monkeypatch.setattr(quality, name, value)
    monkeypatch.setattr(sys, "argv", ["quality"])
    quality.main()
    *others, made = json.loads(file.read_text())["classes"]
    assert others == before and made["products"] == "cuda" and asked == ["cuda:0"]
    assert made["measured"]["machine"] == "a GPU, a CPU, 2 threads"
