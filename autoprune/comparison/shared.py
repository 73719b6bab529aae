"""Calibration draws of a comparison, with statistics collected once for all methods."""

import time
from collections.abc import Collection

from torch import Tensor

from autoprune.bench.bench import Bench
from autoprune.comparison.draws import MOST_DRAWS, POOL_DRAWS, draw_windows
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
from autoprune.text.windows import token_windows


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

    def covers(self, needs: Collection[str]) -> bool:
        """Whether :meth:`require` would give these without a pass of the model."""
        return self._known.issuperset(needs)

    def verify(self) -> None:
        """Nothing: what is too large for the store has no record to be held against."""

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


class PoolDraws:
    """Draws out of one pool of windows; see :class:`autoprune.bench.calibration.Calibration`.

    Args:
        samples: Windows of a draw.
        seed: Of the run; with another one all draws are others.
        expected: Statistics that the methods of the comparison need.
    """

    def __init__(self, samples: int, seed: int, expected: Collection[str] = ()) -> None:
        self.samples = samples
        self.expected = frozenset(expected)
        self._seed = seed
        self._pool: Tensor | None = None

    def pool(self, bench: Bench) -> Tensor:
        """Windows from which draws are taken, int64 [windows, seqlen]."""
        if self._pool is None:
            corpus, count = bench.splits.calibration, POOL_DRAWS * self.samples
            self._pool = token_windows(
                corpus, bench.tokenizer, count, bench.text.seqlen, cache=bench.store
            )
        return self._pool

    def windows(self, bench: Bench, draw: int) -> Tensor:
        """Token ids of one draw, int64 [samples, seqlen]."""
        return draw_windows(self.pool(bench), self.samples, draw + MOST_DRAWS * self._seed)

    def statistics(self, bench: Bench, windows: Tensor) -> SharedStatistics:
        """Statistics on the windows of a draw; nothing is collected yet."""
        return SharedStatistics(
            bench.loaded, bench.store, windows, expected=self.expected, report=bench.report
        )
