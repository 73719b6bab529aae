"""Containers that stay for the next block of the same program.

A container serves one run of one candidate. The run of a program on a model is as many jobs as the
model has blocks, each in processes of its own; starting a container for each would cost more than
most programs do. Between two jobs nothing is left but the container: no process, no input, no
result.
"""

import threading

from sandbox.cell import Cell
from sandbox.pool import Pool


class KeptCells:
    """The containers of the programs that are running.

    Args:
        pool: Where new ones come from and old ones go.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: dict[str, list[Cell]] = {}
        self._lock = threading.Lock()

    def of(self, program: str) -> "ProgramCells":
        """The containers of one program, in place of the pool.

        Args:
            program: Digest of its source and constants.
        """
        return ProgramCells(self, program)

    def take(self, program: str) -> Cell:
        """One that has served this program and nothing else, or a new one.

        Raises:
            SandboxError: If none could be made.
        """
        while True:
            with self._lock:
                waiting = self._waiting.get(program)
                cell = waiting.pop() if waiting else None
            if cell is None:
                return self._pool.take()
            if self._pool.lasts(cell):
                return cell
            self._pool.discard(cell)

    def put(self, program: str, cell: Cell) -> None:
        """Keep a container whose job ended well; kill any other."""
        if not cell.renew():
            self._pool.discard(cell)
            return
        with self._lock:
            self._waiting.setdefault(program, []).append(cell)

    def let_go(self) -> None:
        """Kill all that wait."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for cell in (cell for cells in waiting.values() for cell in cells):
            self._pool.discard(cell)


class ProgramCells:
    """What :func:`sandbox.attempt.attempt` takes containers of a program from.

    Args:
        kept: Containers of all programs.
        program: Digest of this one.
    """

    def __init__(self, kept: KeptCells, program: str) -> None:
        self._kept = kept
        self._program = program

    def take(self) -> Cell:
        """See :meth:`KeptCells.take`."""
        return self._kept.take(self._program)

    def discard(self, cell: Cell) -> None:
        """See :meth:`KeptCells.put`."""
        self._kept.put(self._program, cell)
