"""A pool with one container for many candidates, none of which does anything to it.

A search never shares one. Here torch is imported once instead of once for each candidate.
"""

import time

import numpy as np

from sandbox.client import Sandbox
from sandbox.codes import Code
from sandbox.container import Container, ContainerLostError, Ended, Order
from sandbox.engine import ContainerState
from sandbox.probe_layers import SHAPES, probe_tensors
from sandbox.verdicts import Scores
from sandbox.worker.child_records import CHILD_CODES

HONEST = "def score(W, stats, params):\n    return W.abs()\n"
# Answers that come only once the candidate's process has ended; with others it may still run.
_ENDED = frozenset({"ok", Code.CRASHED, Code.INCOMPLETE, *CHILD_CODES})


class SharedCell:
    """A container that survives its jobs.

    Args:
        cell: The container.
    """

    def __init__(self, cell: Container) -> None:
        self.cell = cell
        # Whether all that earlier jobs started has ended.
        self.is_quiet = True

    def run(self, order: Order, run: int) -> Ended:
        """Execute a job that finds nothing of an earlier one: neither its inputs nor its result."""
        exchange = self.cell._exchange
        for shown in exchange.inputs.iterdir():
            shown.unlink()
        # What a job does not write is refused, however often the right scores stood there before.
        size = max(exchange.result.stat().st_size // 4, order.count)
        with exchange.result.open("r+b") as result:
            result.write(np.full(size, np.nan, np.float32).tobytes())
        self.is_quiet = False
        ended = self.cell.run(order, run)
        self.is_quiet = ended.code in _ENDED
        return ended

    def take_scores(self, count: int, *, keep: bool = False) -> Scores:
        """See :meth:`sandbox.container.Container.take_scores`."""
        return self.cell.take_scores(count, keep=keep)

    def state(self) -> ContainerState:
        """See :meth:`sandbox.container.Container.state`."""
        return self.cell.state()

    def end(self) -> None:
        """Nothing: the next run has the same container."""


class SharedPool:
    """Stands for the pool of a sandbox, which keeps no containers of its own (``warm=0``).

    It hands out its container again after a job that ended by itself and an honest one that gave
    the known scores; after anything else, it makes a new one.

    Args:
        box: An open sandbox, whose pool this becomes.
    """

    def __init__(self, box: Sandbox) -> None:
        box._pool.close()
        self._make = box._make_container
        self._needed_s = 2 * box._limits.probe_s
        layers = box._probe_layers[: len(SHAPES)]
        runs = (tuple(range(len(layers))),)
        self._control = Order(HONEST, {}, layers, runs, False, box._limits.probe_s)
        self._shared: SharedCell | None = None
        self.made = 0
        box._pool = self

    def take(self) -> SharedCell:
        """The container, or a new one if it may have suffered."""
        if self._shared is not None and not self._is_sound(self._shared):
            self.close()
        if self._shared is None:
            self._shared = SharedCell(self._make())
            self.made += 1
        return self._shared

    def discard(self, _: SharedCell) -> None:
        """Keep it."""

    def close(self) -> None:
        """Kill and remove the container."""
        if self._shared is not None:
            self._shared.cell.close()
            self._shared = None

    def _is_sound(self, shared: SharedCell) -> bool:
        cell = shared.cell
        lives = cell.expires - time.monotonic() > self._needed_s
        if not (shared.is_quiet and cell.is_usable and lives) or cell.state().oom:
            return False
        try:
            if shared.run(self._control, 0).code != "ok":
                return False
            seen = cell.take_scores(self._control.count)
        except ContainerLostError:
            return False
        known = [np.abs(probe_tensors(index)["W"]).reshape(-1) for index in range(len(SHAPES))]
        np.testing.assert_array_equal(seen, np.concatenate(known))
        return cell.is_usable and not cell.state().oom
