"""Benchmarks of cost that keep a record: scaling, and the comparison with llm-compressor."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import measured, peer, scaling, table
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
