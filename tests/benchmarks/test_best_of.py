"""The benchmark of best of several replies, on a tiny model whose replies are given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from autoprune.evaluation.suites import reasoning
from autoprune.evaluation.suites.generators import draw_items
from benchmarks import best_of, measured, table
from benchmarks.evidence.records import read_record
from tests.support.benchmark_run import run


def test_verifiers_choose_among_the_same_replies(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (table, measured):
        monkeypatch.setattr(module, "OUT", tmp_path)
    items = draw_items("chain", 3, 0)
    drawn: list[int] = []

    def given(_: Any, prompts: Sequence[str], *, samples: int, **more: Any) -> list[list[str]]:
        drawn.append(samples)
        right = [f"{item.solution} Answer: {item.answer}" for item in items]
        wrong = [f"1 + 1 = 3. Answer: {float(item.answer) + 1:.0f}" for item in items]
        return [[no, yes, no, no] for yes, no in zip(right, wrong, strict=True)]

    monkeypatch.setattr(reasoning, "sampled_replies", given)
    words = ["--model", str(tiny_folder), "--generators", "chain", "--items", "3", "--chains", "20"]
    words += ["--best-of", "4", "--record", str(tmp_path / "record")]
    made = run(best_of, monkeypatch, tmp_path, *words)
    # Drawn once, for all verifiers and for the same benchmark later.
    assert drawn == [4]
    run(best_of, monkeypatch, tmp_path, *words[:-2])
    assert drawn == [4]
    assert [row["verifier"] for row in made["rows"]] == ["uhead", "surprisal", "programmatic"]
    counts = read_record(tmp_path / "record").counts
    assert counts["programmatic"]["accuracy"]["value"] == 100
    for name in ("uhead", "surprisal", "programmatic"):
        assert counts[name]["random_pick"]["value"] == 25
        best = counts[name]["accuracy"]["value"]
        assert counts[name]["gain_over_random_pick"]["value"] == pytest.approx(best - 25)
