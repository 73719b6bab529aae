"""Calibration draws of a comparison, with statistics shared by all methods."""

import time
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from autoprune.bench.model import ModelBench
from autoprune.comparison.draws import MOST_DRAWS, POOL_DRAWS, draw_windows
from autoprune.comparison.texts import calibration_corpus, with_seed
from autoprune.digest import windows_digest
from autoprune.errors import AutopruneError, reason_of
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
from autoprune.text.generated import is_generated
from autoprune.text.windows import token_windows

LONGEST_REASON = 300


class SharedStatistics:
    """Statistics of a draw, each collected once, at the first request.

    The small statistics are kept in the store. Gram matrices and gradients are as large as the
    weights, so they stay in memory only while the draw is in use.

    Args:
        loaded: The dense model; its weights must be dense whenever :meth:`require` is called.
        store: Keeps the small statistics.
        windows: The draw, int64 [n, s].
        expected: Statistics that later calls will need, collected along with requested ones.
        report: Callback for the progress of passes.
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
        """Whether :meth:`require` would return these without a pass of the model."""
        return self._known.issuperset(needs)

    def verify(self) -> None:
        """Do nothing: statistics too large for the store have no record to check against."""

    def require(self, needs: Collection[str]) -> Statistics:
        """Return statistics with at least ``needs``; always the same object."""
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
    """Draws from a pool of windows; see :class:`autoprune.bench.calibration.Calibration`.

    Draws of the compared text are numbered from 0, those of the first named text from
    ``MOST_DRAWS``, those of the second from twice that.

    Args:
        samples: Windows per draw.
        seed: Seed of the run; another seed changes all draws.
        expected: Statistics that the methods of the comparison need.
        texts: References of further calibration texts by name.
    """

    def __init__(
        self,
        samples: int,
        seed: int,
        expected: Collection[str] = (),
        texts: Mapping[str, str] | None = None,
    ) -> None:
        self.samples = samples
        self.expected = frozenset(expected)
        self.texts = dict(texts or {})
        self._seed = seed
        # By reference: windows or the error that prevents them, and facts for the record.
        self._pools: dict[str, tuple[Tensor | AutopruneError, dict[str, Any]]] = {}

    def number(self, text: str, seed: int) -> int:
        """Return the number of a draw of a named text; an empty name means the compared text."""
        return seed + MOST_DRAWS * (list(self.texts).index(text) + 1 if text else 0)

    def pool(self, bench: ModelBench, draw: int = 0) -> Tensor:
        """Return the windows from which a draw is taken, int64 [windows, seqlen]."""
        found, _ = self._of(bench, draw)
        if isinstance(found, AutopruneError):
            raise found
        return found

    def text_facts(self, bench: ModelBench, name: str, seeds: int) -> dict[str, Any]:
        """Describe a named text for the protocol; has ``reason`` if the text is unavailable."""
        numbers = [self.number(name, seed) for seed in range(seeds)]
        try:
            digests = [windows_digest(bench.drawn_windows(number)) for number in numbers]
        except AutopruneError as error:
            return {"ref": self.texts[name], "reason": reason_of(error, LONGEST_REASON)}
        pools = {id(pool): len(pool) for pool in (self.pool(bench, n) for n in numbers)}
        _, facts = self._of(bench, numbers[0])
        pool = sum(pools.values())
        return {"ref": self.texts[name], **facts, "pool": pool, "draw_digests": digests}

    def _of(self, bench: ModelBench, draw: int) -> tuple[Tensor | AutopruneError, dict[str, Any]]:
        place, seed = divmod(draw, MOST_DRAWS)
        ref = list(self.texts.values())[place - 1] if place else bench.text.corpus
        own = with_seed(ref, seed + MOST_DRAWS * self._seed)
        if own not in self._pools:
            count = self.samples * (1 if is_generated(ref) else POOL_DRAWS)
            length = bench.text.seqlen
            try:
                corpus, facts = calibration_corpus(bench, own, self.samples * length)
                found = token_windows(corpus, bench.tokenizer, count, length, cache=bench.store)
            except Exception as error:
                if not place:
                    raise
                # A failure of one text, whatever it raises, must not stop the others.
                why = AutopruneError(f"there is no such calibration text: {error}")
                self._pools[own] = why, {}
            else:
                self._pools[own] = found, facts
        return self._pools[own]

    def windows(self, bench: ModelBench, draw: int) -> Tensor:
        """Return the token ids of one draw, int64 [samples, seqlen]."""
        seed = draw % MOST_DRAWS + MOST_DRAWS * self._seed
        return draw_windows(self.pool(bench, draw), self.samples, seed)

    def fresh(self, bench: ModelBench, draw: int, count: int) -> Tensor:
        """Return up to ``count`` pool windows outside the draw, in the draw's random order."""
        pool = self.pool(bench, draw)
        whole = draw_windows(pool, len(pool), draw % MOST_DRAWS + MOST_DRAWS * self._seed)
        return whole[self.samples : self.samples + count]

    def statistics(self, bench: ModelBench, windows: Tensor) -> SharedStatistics:
        """Return the statistics of a draw's windows; nothing is collected yet."""
        return SharedStatistics(
            bench.loaded, bench.store, windows, expected=self.expected, report=bench.report
        )
