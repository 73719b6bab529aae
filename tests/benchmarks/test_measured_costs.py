"""Benchmarks of cost: scaling, the comparison with llm-compressor, sizes of streaming."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from autoprune.streaming.shards import Checkpoint
from benchmarks import measured, peer, scaling, streaming, table
from benchmarks.evidence.derivations import count
from benchmarks.evidence.records import read_record
from tests.support.benchmark_run import run


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "out"
    for module in (table, measured):
        monkeypatch.setattr(module, "OUT", folder)
    return folder


def test_scaling_fits_models_that_fit_and_keeps_a_record(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def here(_: str, __: str, setting: str, **___: Any) -> dict[str, Any]:
        figures = scaling.one(*json.loads(setting))
        # A cost that is linear in both, and a little more over parameters.
        seconds = figures["weights"] ** 1.2 * json.loads(setting)[2]
        return {**figures, "seconds": seconds, "peak_mb": 1.0, "process_s": 1.0, "others": 0.0}

    monkeypatch.setattr(measured, "run_fresh", here)
    monkeypatch.setattr(scaling, "SIZES", ((64, 1), (64, 2), (1 << 20, 1)))
    monkeypatch.setattr(scaling, "TOKENS", (256, 512))
    kept = tmp_path / "record"
    made = run(scaling, monkeypatch, out, "--rounds", "1", "--record", str(kept))
    assert "million weights; left out" in capsys.readouterr().err
    assert [row["series"] for row in made["rows"]] == ["parameters"] * 2 + ["tokens"] * 2
    assert [(goal["limit"], goal["met"]) for goal in made["goals"]] == [(1.05, False), (1.05, True)]
    record = read_record(kept)
    assert count(record, {"field": "exponents.parameters"}) == pytest.approx(1.2)
    assert count(record, {"field": "tokens.1.tokens"}) == 512
    assert record.body["command"].startswith("python -m benchmarks scaling --record evidence/")


def test_memory_decides_how_far_scaling_goes() -> None:
    assert scaling.fitting(10**12) == list(scaling.SIZES)
    assert scaling.fitting(5 * 10**9) == list(scaling.SIZES[:3])
    hidden, blocks = scaling.SIZES[-1]
    assert 12.25 * hidden**2 * blocks > 1e9


def test_the_peer_is_held_to_its_bounds_and_recorded(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {"wanda": (4.0, 9.0), "sparsegpt": (5.0, 7.0)}

    def here(module: str, name: str, *_: Any, **__: Any) -> dict[str, Any]:
        own = module.endswith("autoprune")
        seconds, memory = ours.get(name, (4.0, 5.0)) if own else (10.0, 10.0)
        return {
            "prune_s": seconds, "prune_cpu_s": seconds, "peak_mb": memory, "sparsity": 0.6,
            "others": 0.0, "versions": {"llmcompressor": "0.14"},
        }  # fmt: skip

    monkeypatch.setattr(measured, "run_fresh", here)
    monkeypatch.setattr(peer, "prepare", lambda: ("model", "tokens"))
    monkeypatch.setattr(peer, "peer_python", lambda: "python")
    kept = tmp_path / "record"
    made = run(peer, monkeypatch, out, "--record", str(kept))
    goals = {goal["what"]: (goal["limit"], goal["met"]) for goal in made["goals"]}
    assert goals["sequential Wanda, time"] == (0.5, True)
    assert goals["sequential Wanda, memory"] == (0.8, False)
    assert goals["SparseGPT, time"] == (0.4, False)
    assert goals["SparseGPT, memory"] == (0.8, True)
    record = read_record(kept)
    assert count(record, {"field": "rows.autoprune sparsegpt.x time"}) == 0.5


def test_shapes_of_streamed_models_are_those_of_llama() -> None:
    billions = {}
    for name, known in streaming.SIZES.items():
        config = streaming.config_of(name)
        block = sum(math.prod(shape) for _, shape in streaming._shapes(config, 0))
        tables = 1 if config.tie_word_embeddings else 2
        total = block * config.num_hidden_layers
        total += (tables * streaming.VOCABULARY + 1) * config.hidden_size
        billions[name] = round(total / 1e9, 2)
        assert known["hidden_size"] == config.hidden_size
    assert billions == {"3b": 3.21, "8b": 8.03, "70b": 70.55, "tenth": 0.37}
    eight = streaming.config_of("8b")
    assert (eight.num_attention_heads, eight.num_key_value_heads) == (32, 8)


def test_a_dry_run_estimates_from_files_that_hold_only_what_it_reads(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 12}
    untied = tiny | {"num_key_value_heads": 1, "tie_word_embeddings": False}
    monkeypatch.setattr(streaming, "SIZES", {"3b": {}, "tenth": tiny, "70b": untied})
    monkeypatch.setattr(streaming, "VOCABULARY", 128)
    monkeypatch.setattr(streaming, "OUT", out)
    figures: dict[str, Any] = {}
    monkeypatch.setattr(streaming, "report", figures.update)
    steps: list[str] = []
    held: dict[str, float] = {}

    def here(_: str, *words: str) -> dict[str, Any]:
        figures.clear()
        monkeypatch.setattr(sys, "argv", ["streaming", *words])
        streaming.main()
        steps.append(words[1])
        dense = Path(words[words.index("--folder") + 1]) / "dense"
        checkpoint = Checkpoint(dense)
        used = sum((dense / file).stat().st_blocks * 512 for file in checkpoint.files)
        held["share"] = used / checkpoint.nbytes
        held["zeros"] = float((checkpoint.read("model.layers.11.mlp.up_proj.weight") == 0).sum())
        return {"peak_mb": 1.0, "process_s": 1.0, "others": 0.0, **figures}

    monkeypatch.setattr(streaming, "run_fresh", here)
    words = ["--calibration-windows", "2", "--seqlen", "16"]
    made = run(streaming, monkeypatch, out, "--size", "70b", *words)
    assert steps == ["make", "estimate"] and made["goals"] == []
    assert [set(row) for row in made["rows"]] == [{"what", "estimate"}] * 3
    assert held["share"] < 0.5 and held["zeros"] == 128 * 512
    sparse = made["runs"]["estimate"]
    del steps[:]
    run(streaming, monkeypatch, out, "--size", "tenth", *words, "--dry-run")
    assert steps == ["make", "estimate"] and held["share"] < 0.5
    # All tensors and the budget of a run are known without their values.
    monkeypatch.setitem(streaming.SIZES, "tenth", untied)
    whole = run(streaming, monkeypatch, out, "--size", "tenth", *words)["runs"]["estimate"]
    assert held["zeros"] == 0 and whole["disk_mb"] == pytest.approx(sparse["disk_mb"], 1e-4)
    for name in ("block weights", "statistics", "workspace"):
        assert whole["parts_mb"][name] == sparse["parts_mb"][name]
