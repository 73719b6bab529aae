"""A whole search at 2:4: its sentinels, its sealed figures, and the same after an interruption."""

from pathlib import Path
from typing import Any

import pytest

from flows.search import search
from flows.search.params import SearchParams
from tasks import steps
from tests.support.small_search import SIZES, graph


def test_a_search_at_a_pattern_is_sealed_and_goes_on_after_its_first_sentinel(
    tiny_folder: Path, text_file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"model": str(tiny_folder), "corpus": str(text_file), "designer": "random"}
    params = SearchParams(
        **SIZES | asked, pattern="2:4", sandbox="off", repairs="none", draws=1,
        candidates=2, slots=2, register_winner=False, run="whole",
    )  # fmt: skip
    whole = search.fn(params)
    sealed = [row for row in whole["leaderboard"] if row["sealed_perplexity"] is not None]
    assert "wanda" in {row["candidate"] for row in sealed}
    assert all(row["sparsity"] == 0.5 for row in whole["leaderboard"] if row["sparsity"])
    assert {"dense", "wanda"} <= {check["name"] for check in whole["checks"]}
    measure = steps.WORK["measure"]

    def stopped(bench: Any, wanted: Any, *rest: Any) -> Any:
        if wanted.role == "sentinel":
            raise KeyboardInterrupt
        return measure(bench, wanted, *rest)

    cut = params.model_copy(update={"run": "cut"})
    with monkeypatch.context() as patch:
        patch.setitem(steps.WORK, "measure", stopped)
        with pytest.raises(KeyboardInterrupt):
            search.fn(cut)
    assert search.fn(cut)["leaderboard"] == whole["leaderboard"]
    assert graph("cut") == graph("whole")
