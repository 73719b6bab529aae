"""What a designer forecast beside what was measured: the same means, the same limits."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from autoprune.design.graph import Graph
from autoprune.search import forecasts
from autoprune.search.forecasts import Forecasts


def test_forecasts_and_outcomes_are_averaged_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    def graded(*changes: tuple[float, float]) -> Forecasts:
        entries: Any = [SimpleNamespace(prediction=None, pair=pair) for pair in changes]
        archive: Any = SimpleNamespace(designed=lambda: entries)
        nats = {id(e): tuple(min(math.log1p(max(c, -0.9)), 1.0) for c in e.pair) for e in entries}
        monkeypatch.setattr(forecasts, "_graded", lambda _, entry: nats[id(entry)])
        monkeypatch.setattr(forecasts, "count_predictions", lambda _: (0, 0))
        found = forecasts.graded_forecasts(archive, Graph())
        assert found is not None
        return found

    true = graded((1.0, 1.0), (-0.5, -0.5))
    assert true.forecast == pytest.approx(true.measured) == pytest.approx(0.0)
    assert true.error == 0.0


def test_a_forecast_beyond_reason_is_clipped_as_an_outcome_is() -> None:
    entry: Any = SimpleNamespace(
        prediction=SimpleNamespace(change=50.0, versus="wanda"), results={2: None},
        duplicate_of=None,
    )  # fmt: skip

    class Known(dict[str, Any]):
        def compare(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(mean=7.0)

    archive: Any = Known(wanda=None)
    assert forecasts._graded(archive, entry) == (forecasts.LARGEST, forecasts.LARGEST)
