"""A search ends with the best recipe that beats the reference, whoever wrote it."""

import pytest

from autoprune.candidate import Candidate
from autoprune.recipe import Recipe
from autoprune.search.archive import Archive, Entry
from autoprune.search.paired import paired_difference
from autoprune.search.steps import Measurement

REFERENCE = (4.0, 4.2, 4.1)


def entry(alias: str, order: int, operator: str, shift: float) -> Entry:
    nll = tuple(value + shift for value in REFERENCE)
    made = Entry(alias, 0, operator, Recipe(Candidate("builtin", "wanda")), "abs(W)")
    found = Measurement(nll, 30, 60.0, {"layer": 0.6}, f"mask-{alias}", 0.6, 1.0)
    made.results[2] = found
    made.status = "measured"
    made.change = paired_difference(nll, REFERENCE)
    return made


@pytest.mark.parametrize(
    ("by_hand", "designed", "winner"),
    [(-0.2, -0.1, "wanda+ramp"), (-0.1, -0.2, "C1"), (0.1, 0.2, None)],
)
def test_the_better_one_wins(by_hand: float, designed: float, winner: str | None) -> None:
    archive = Archive("wanda")
    for made in (
        entry("wanda", 0, "baseline", 0.0),
        entry("wanda+ramp", 0, "baseline", by_hand),
        entry("C1", 1, "explore", designed),
    ):
        archive.add(made)
    found = archive.winner()
    assert (found.alias if found else None) == winner
    margins = {margin.versus: margin.difference.mean for margin in archive.margins()}
    if found is None:
        assert margins == {}
    else:
        second = "C1" if winner == "wanda+ramp" else "wanda+ramp"
        assert margins == pytest.approx({second: -0.1, "wanda": -0.2})
    named = [alias for alias, verdict in archive.standings().items() if verdict == "winner"]
    assert named == ([winner] if winner else [])
