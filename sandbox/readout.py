"""Cuts the raw block of a finished job into one array per layer and run, and judges them."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sandbox.codes import Code
from sandbox.container import Order
from sandbox.contract import judge_contract, uses_position
from sandbox.probe_layers import SHAPES
from sandbox.verdicts import Scores, judge_repeat, judge_scores, judge_weights

_LARGE = 32 << 20


class Readout:
    """Scores of every run of one job that succeeded.

    Args:
        order: The job.
        raw: What each run wrote, all layers in one row.
        distinct: Distinct scores required per layer of the probe.
    """

    def __init__(self, order: Order, raw: Sequence[Scores], distinct: int) -> None:
        self._order = order
        self._distinct = distinct
        shapes = [layer.shape for layer in order.layers]
        sizes = [rows * columns for rows, columns in shapes]
        self.scores: list[list[Scores]] = []
        for row in raw:
            parts = np.split(row, np.cumsum(sizes)[:-1])
            pairs = zip(parts, shapes, strict=True)
            self.scores.append([part.reshape(shape) for part, shape in pairs])

    @property
    def layers(self) -> list[Scores]:
        """Scores of the requested layers, without the variants of the probe."""
        return self.scores[0][: len(SHAPES)] if self._order.contract else self.scores[0]

    def failure(self) -> tuple[Code, str] | None:
        """The first thing wrong with the scores, None when nothing is."""
        for failure in self._judged():
            if failure is not None:
                return failure
        for other in self.scores[1:]:
            failure = judge_repeat(self.scores[0], other)
            if failure is not None:
                return failure
        if not self._order.contract:
            return None
        positional = uses_position(self._order.source)
        return judge_contract(self.scores[0], positional=positional, distinct=self._distinct)

    def _judged(self) -> Iterator[tuple[Code, str] | None]:
        layers = self.layers
        if self._order.entry != "score":
            yield from map(judge_weights, layers, range(len(layers)))
            return
        distinct = self._distinct if self._order.contract else None
        arguments = (layers, range(len(layers)), [distinct] * len(layers))
        if sum(scores.nbytes for scores in layers) < _LARGE:
            yield from map(judge_scores, *arguments)
            return
        # Faulting in the pages costs as much as checking them; the loops run without the GIL.
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
            yield from threads.map(judge_scores, *arguments)
