"""The record that makes a candidate's masks again holds the recipe that was measured."""

from types import SimpleNamespace
from typing import Any

import pytest

from autoprune.candidate import Candidate
from autoprune.recipe import Recipe
from autoprune.report.run_report import build_mask_records
from autoprune.search.archive import Entry
from autoprune.search.spec import SearchSpec
from autoprune.search.steps import Measurement


@pytest.mark.parametrize(("rung", "repair"), [(1, "none"), (2, "mrp")])
def test_before_the_last_rung_the_repair_was_the_proxys(rung: int, repair: str) -> None:
    recipe = Recipe(Candidate("builtin", "wanda"), repair="mrp")
    found = Measurement((1.0,), 10, 2.7, mask_digest="d")
    entry = Entry("C1", 1, "exploit", recipe, results={rung: found}, proxied=True)
    spec = SearchSpec(model="m", corpus="c", proxy="none")
    search: Any = SimpleNamespace(spec=spec, entries=[entry], budget_of=lambda _: {})
    assert build_mask_records(search, "demo", {})["C1"]["recipe"]["solver"] == repair
