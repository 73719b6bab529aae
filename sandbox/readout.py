"""Reads and judges scores while the container is still computing the next layer."""

import numpy as np

from sandbox.cell import Cell, CellLost, Order
from sandbox.codes import Code
from sandbox.verdicts import Scores, judge_repeat, judge_scores


class Readout:
    """Scores of every run of one job.

    Args:
        order: The job.
        cell: Where it runs.
        distinct: Distinct scores wanted per layer.
    """

    def __init__(self, order: Order, cell: Cell, distinct: int) -> None:
        self._order = order
        self._cell = cell
        self._distinct = distinct
        self._failures: dict[int, tuple[Code, str]] = {}
        shapes = [layer.shape for layer in order.layers]
        self._offsets = np.cumsum([0, *(4 * rows * columns for rows, columns in shapes)])
        self._total = int(self._offsets[-1])
        self.scores: list[list[Scores]] = []
        for _ in order.runs:
            # One block, so that the system backs it with large pages; many small ones fault more.
            block = np.empty(self._total // 4, np.float32)
            parts = np.split(block, self._offsets[1:-1] // 4)
            self.scores.append(
                [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
            )
        self._seen: list[list[int]] = [[] for _ in order.runs]

    def read(self, run: int, index: int) -> None:
        """Read and judge one layer; the order must be the one asked for.

        Raises:
            CellLost: If a layer is reported that was not next.
        """
        if not 0 <= run < len(self._seen):
            raise CellLost("protocol", f"run {run} was never asked for")
        done = len(self._seen[run])
        wanted = self._order.runs[run]
        if done >= len(wanted) or wanted[done] != index:
            raise CellLost("protocol", f"layer {index} of run {run} came out of turn")
        self._seen[run].append(index)
        scores = self.scores[run][index]
        offset = run * self._total + int(self._offsets[index])
        self._cell.read_scores(memoryview(scores.reshape(-1).data).cast("B"), offset)
        if run == 0:
            failure = judge_scores(scores, index, self._distinct)
            if failure is not None:
                self._failures[index] = failure

    def failure(self) -> tuple[Code, str] | None:
        """The first thing wrong with the numbers, None when nothing is."""
        if any(
            len(seen) != len(run) for seen, run in zip(self._seen, self._order.runs, strict=True)
        ):
            return Code.INCOMPLETE, "not every layer was reported"
        if self._failures:
            return self._failures[min(self._failures)]
        for other in self.scores[1:]:
            failure = judge_repeat(self.scores[0], other)
            if failure is not None:
                return failure
        return None
