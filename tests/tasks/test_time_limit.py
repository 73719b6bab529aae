"""Work on a bench stops between two windows or blocks when its time is up, by a test's clock."""

import math

import pytest

from autoprune.bench import time_limit
from autoprune.bench.text import SELECTION
from autoprune.candidate import Candidate
from autoprune.recipe import Recipe
from autoprune.search.deadline import UNFINISHED
from autoprune.search.steps import Failed, Measure, Measurement, Seal, Sealed
from tasks import steps
from tasks.search_bench import SearchBench

WANDA = Recipe(Candidate("builtin", "wanda"))
REPAIRED = Recipe(Candidate("builtin", "wanda"), repair="sparsegpt")


def step(recipe: Recipe) -> Measure:
    return Measure("C1.rung2", 1, 0, "C1", recipe, rung=2, windows=2, sparsity=0.6)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by a second each time that it is looked at."""
    seen: list[float] = []

    def tick() -> float:
        seen.append(float(len(seen)))
        return seen[-1]

    monkeypatch.setattr(time_limit, "now", tick)
    return seen


def test_a_measurement_is_stopped_and_the_model_is_dense_again(
    bench: SearchBench, ticking: list[float]
) -> None:
    dense = bench.evaluate(SELECTION).nll
    bench.calibrated(("gram",))
    shown = bench.report
    found = steps.do(bench, step(REPAIRED), 3.0)
    assert isinstance(found, Failed) and found.code == UNFINISHED
    assert found.detail.startswith("stopped after 3 s, when its time was up, at ")
    assert bench.report is shown
    assert bench.evaluate(SELECTION).nll == dense
    # With time enough the same step gives its figures, from the start.
    whole = steps.do(bench, step(REPAIRED), 1e6)
    assert isinstance(whole, Measurement) and len(whole.nll) == 2
    again = steps.do(bench, step(REPAIRED))
    assert isinstance(again, Measurement) and again.nll == whole.nll


def test_a_scheme_that_is_stopped_is_no_worse_for_it(
    bench: SearchBench, ticking: list[float]
) -> None:
    scheme = Recipe(Candidate.parse("scheme:depth:criterion=perplexity"))
    found = steps.do(bench, step(scheme), 1.0)
    assert isinstance(found, Failed) and found.code == UNFINISHED
    assert isinstance(steps.do(bench, step(scheme), 1e6), Measurement)


def test_what_cannot_end_in_time_does_not_start(bench: SearchBench, ticking: list[float]) -> None:
    found = steps.do(bench, step(WANDA), 0.0)
    assert found == Failed(UNFINISHED, "not started: it could not have ended in time")
    assert ticking == []


def test_work_that_is_done_is_kept_however_late(bench: SearchBench, ticking: list[float]) -> None:
    """The last window has been measured: nothing is gained by throwing it away."""
    steps.do(bench, step(WANDA))
    shown = len(ticking)
    steps.do(bench, step(WANDA), 1e6)
    last = float(len(ticking) - shown - 1)
    assert isinstance(steps.do(bench, step(WANDA), last), Measurement)
    assert isinstance(steps.do(bench, step(WANDA), last - 1.0), Failed)


def test_sealing_without_time_leaves_out_all_but_the_winner_and_the_reference(
    bench: SearchBench,
) -> None:
    ria = Recipe(Candidate("builtin", "ria"))
    wanted = Seal("sealed", (("C1", REPAIRED), ("ria", ria), ("wanda", WANDA)), 2, 0.6)
    found = steps.do(bench, wanted, 0.0)
    assert isinstance(found, Sealed)
    assert found.measurements.keys() == {"C1", "wanda"}
    assert {alias: failed.code for alias, failed in found.failures.items()} == {"ria": UNFINISHED}
    assert steps.do(bench, wanted, math.inf).measurements.keys() == {"C1", "ria", "wanda"}  # type: ignore[union-attr]
