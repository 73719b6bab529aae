"""What a search says on the screen as its candidates are measured."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autoprune.candidate import Candidate
from autoprune.recipe import Recipe
from autoprune.search.archive import Entry
from autoprune.search.search import Search
from autoprune.search.steps import Measurement
from flows.search.driver import Driver
from flows.terminal import console
from tasks.design import DesignerSession
from tasks.search_bench import SearchBench
from tasks.state import State


@pytest.mark.parametrize("repeats", [False, True])
def test_more_windows_of_a_candidate_make_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, repeats: bool
) -> None:
    events: list[str] = []
    screen = SimpleNamespace(event=events.append, remaining=lambda seconds: None)
    monkeypatch.setattr(console, "screen", lambda: screen)
    recipe = Recipe(Candidate("expression", "abs(W)"))
    entry = Entry("C1", 1, "mutate", recipe, "abs(W)", status="measured")
    if repeats:
        entry.status, entry.duplicate_of = "duplicate", "wanda"
    search: Any = SimpleNamespace(
        entries=[entry], best=None, spec=SimpleNamespace(reference="wanda"), spent=None,
        finished=None,
    )  # fmt: skip
    others = cast(SearchBench, None), cast(DesignerSession, None)
    driver = Driver(cast(Search, search), State(tmp_path), "s1", *others)
    for windows in (2, 6, 6):
        entry.results[1] = Measurement((3.0,) * windows, 511 * windows, 20.0)
        driver._report_changes()
    if repeats:
        assert events == ["C1 abs(W): same as wanda"]
        return
    assert events == [f"C1 abs(W): perplexity 20.00 on {windows} windows" for windows in (2, 6)]
