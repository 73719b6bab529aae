"""A whole search at 2:4: its sentinels, its sealed figures, and the same after an interruption."""

from pathlib import Path

import pytest

from flows.search import search
from tests.support.small_search import graph, interrupt, small


def test_a_search_at_a_pattern_is_sealed_and_goes_on_after_its_first_sentinel(
    tiny_folder: Path, text_file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = small(
        tiny_folder, text_file, pattern="2:4", repairs="none", draws=1, candidates=2, slots=2,
        register_winner=False, run="whole",
    )  # fmt: skip
    whole = search.fn(params)
    sealed = [row for row in whole["leaderboard"] if row["sealed_perplexity"] is not None]
    assert "wanda" in {row["candidate"] for row in sealed}
    assert all(row["sparsity"] == 0.5 for row in whole["leaderboard"] if row["sparsity"])
    assert {"dense", "wanda"} <= {check["name"] for check in whole["checks"]}
    cut = params.model_copy(update={"run": "cut"})
    interrupt(monkeypatch, what=lambda wanted: bool(wanted.role == "sentinel"))
    with pytest.raises(KeyboardInterrupt):
        search.fn(cut)
    assert search.fn(cut)["leaderboard"] == whole["leaderboard"]
    assert graph("cut") == graph("whole")
