"""How a bench cuts draws of calibration text and keeps the statistics of the current one."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from autoprune.bench.text import CALIBRATION
from autoprune.models.loading import LoadedModel
from autoprune.progress import Report
from autoprune.statistics.statistics import (
    Statistics,
    found_or_collected,
    verify_statistics,
)
from autoprune.store import Store
from autoprune.text.windows import token_windows

if TYPE_CHECKING:
    from autoprune.bench.model import ModelBench


def fresh_name(count: int, draw: int = 0) -> str:
    """Name of windows outside a draw; saved models record the text of all "calibration ..."."""
    return f"{CALIBRATION} {draw} fresh {count}"


class DrawStatistics(Protocol):
    """Statistics of the dense model on one draw, extended on demand."""

    def covers(self, needs: Collection[str]) -> bool:
        """Whether :meth:`require` would return these without a pass of the model."""
        ...

    def require(self, needs: Collection[str]) -> Statistics:
        """Statistics that hold at least ``needs``; the model must be dense."""
        ...

    def verify(self) -> None:
        """Check the statistics in memory against those on record, if there are any."""
        ...


class Calibration(Protocol):
    """How draws are cut and statistics kept; figures of different ones are not comparable."""

    def windows(self, bench: "ModelBench", draw: int) -> Tensor:
        """Token ids of one draw, int64 [n, s]; all draws have the same distribution."""
        ...

    def fresh(self, bench: "ModelBench", draw: int, count: int) -> Tensor:
        """At most ``count`` windows of the calibration part that are not in the draw."""
        ...

    def statistics(self, bench: "ModelBench", windows: Tensor) -> DrawStatistics:
        """Statistics on the windows of a draw; nothing is collected yet."""
        ...


class DocumentDraws:
    """Draws that each have their own order of documents, with all statistics in the store.

    Args:
        expected: Statistics that later calls will need, so that one pass collects them all.
    """

    def __init__(self, expected: Collection[str] = ()) -> None:
        self._expected = frozenset(expected)

    def windows(self, bench: "ModelBench", draw: int) -> Tensor:
        """See :class:`Calibration`; draw 0 is the calibration part as it is."""
        first = bench.part("calibration")
        return first if draw == 0 else self._first(bench, draw, len(first))

    def fresh(self, bench: "ModelBench", draw: int, count: int) -> Tensor:
        """See :class:`Calibration`; in the draw's order."""
        used = {tuple(row) for row in bench.drawn_windows(draw).tolist()}
        # A larger cut may read more documents, and then does not begin with the draw.
        more = self._first(bench, draw, len(bench.part("calibration")) + count)
        apart = [n for n, row in enumerate(more.tolist()) if tuple(row) not in used]
        return more[apart][:count]

    def _first(self, bench: "ModelBench", draw: int, count: int) -> Tensor:
        text = bench.splits.calibration.draw(draw)
        return token_windows(
            text, bench.loaded.tokenizer, count, bench.text.seqlen, cache=bench.store
        )

    def statistics(self, bench: "ModelBench", windows: Tensor) -> DrawStatistics:
        """See :class:`Calibration`."""
        # As the bench reports at the time of a pass, since time limits come and go.
        return StoredStatistics(
            bench.store, bench.loaded, windows, self._expected,
            lambda progress: bench.report(progress),
        )  # fmt: skip


class StoredStatistics:
    """Statistics that are collected together and kept in a store, where they can be verified.

    Args:
        store: Keeps them.
        loaded: The dense model.
        windows: The draw, int64 [n, s].
        expected: Statistics that later calls will need; collected with the first ones.
        report: Called with progress.
    """

    def __init__(
        self,
        store: Store,
        loaded: LoadedModel,
        windows: Tensor,
        expected: frozenset[str],
        report: Report,
    ) -> None:
        self._store = store
        self._loaded = loaded
        self._windows = windows
        self._report = report
        self._names = expected
        self._found: Statistics | None = None
        self._none = Statistics(0, "", {})
        # Whether those in memory came from the store; False: they took a pass of the model.
        self.cached = False

    def covers(self, needs: Collection[str]) -> bool:
        """See :class:`DrawStatistics`."""
        return self._found is not None and self._names.issuperset(needs)

    def require(self, needs: Collection[str]) -> Statistics:
        """See :class:`DrawStatistics`; the same object until more is needed."""
        if self._found is None or not self.covers(needs):
            names = self._names | frozenset(needs)
            if not names:
                return self._none
            # Gram matrices take more memory than the model, so release the smaller set first.
            self._found = None
            self._found, self.cached = found_or_collected(
                self._store, self._loaded, self._windows, needs=names, report=self._report
            )
            # Only now: what cannot be collected must not be asked for again by others.
            self._names = names
        return self._found

    def verify(self) -> None:
        """See :class:`DrawStatistics`."""
        if self._found is not None:
            verify_statistics(
                self._found, self._store, self._loaded, self._windows, needs=self._names
            )
