"""Statistics of one calibration draw, collected once for all methods that need them."""

import time
from collections.abc import Collection

from torch import Tensor

from autoprune.models.loading import LoadedModel
from autoprune.progress import Report, silent
from autoprune.statistics.accumulator import BASIC
from autoprune.statistics.statistics import (
    GRADIENT,
    Statistics,
    collect_statistics,
    stored_statistics,
)
from autoprune.store import Store


class SharedStatistics:
    """Grows by what is asked for; every statistic is collected in one pass, at the first request.

    The small statistics are kept in the store. Gram matrices and gradients are as large as the
    weights, so they live in memory as long as the draw is in use.

    Args:
        loaded: The dense model; its weights must be dense whenever :meth:`require` is called.
        store: Keeps the small ones.
        windows: The draw, int64 [n, s].
        expected: What later calls will need; collected together with what is asked for.
        report: Callback, called with the progress of passes.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        store: Store,
        windows: Tensor,
        *,
        expected: Collection[str] = (),
        report: Report = silent,
    ) -> None:
        self._loaded = loaded
        self._store = store
        self._windows = windows
        self._expected = frozenset(expected)
        self._report = report
        self._known: set[str] = set()
        self._layers: dict[str, dict[str, Tensor]] = {}
        self._statistics = Statistics(windows.numel(), "", self._layers)
        self.seconds = 0.0

    def require(self, needs: Collection[str]) -> Statistics:
        """Statistics that hold at least ``needs``; always the same object."""
        missing = set(needs) - self._known
        started = time.perf_counter()
        if missing & BASIC:
            self._add(
                stored_statistics(
                    self._store, self._loaded, self._windows, needs=BASIC, report=self._report
                ),
                BASIC,
            )
        curvature = missing - BASIC - {GRADIENT}
        if curvature:
            curvature |= self._expected - BASIC - {GRADIENT} - self._known
            self._collect(curvature)
        if GRADIENT in missing:
            self._collect({GRADIENT})
        self.seconds += time.perf_counter() - started
        return self._statistics

    def _collect(self, names: Collection[str]) -> None:
        model = self._loaded.model
        found = collect_statistics(model, self._windows, needs=names, report=self._report)
        self._add(found, names)

    def _add(self, found: Statistics, names: Collection[str]) -> None:
        for layer, values in found.layers.items():
            self._layers.setdefault(layer, {}).update(values)
        self._known |= set(names)
