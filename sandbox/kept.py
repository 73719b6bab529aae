"""Containers that stay for the next block of the same program.

A container serves one run of one candidate. The run of a program on a model is as many jobs as the
model has blocks, each in processes of its own; starting a container for each would cost more than
most programs do. Between two jobs nothing is left but the container: no process, no input, no
result.
"""

import threading

from sandbox.container import Container
from sandbox.pool import Pool


class KeptContainers:
    """The containers of the programs that are running.

    Args:
        pool: Where new ones come from and old ones go.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: dict[str, list[Container]] = {}
        self._lock = threading.Lock()

    def of(self, program: str) -> "ProgramContainers":
        """The containers of one program, in place of the pool."""
        return ProgramContainers(self, program)

    def take(self, program: str) -> Container:
        """One that has served this program and nothing else, or a new one."""
        while True:
            with self._lock:
                waiting = self._waiting.get(program)
                container = waiting.pop() if waiting else None
            if container is None:
                return self._pool.take()
            if self._pool.lasts(container):
                return container
            self._pool.discard(container)

    def put(self, program: str, container: Container) -> None:
        """Keep a container whose job ended well; kill any other."""
        if not container.renew():
            self._pool.discard(container)
            return
        with self._lock:
            self._waiting.setdefault(program, []).append(container)

    def let_go(self) -> None:
        """Kill all that wait."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for containers in waiting.values():
            for container in containers:
                self._pool.discard(container)


class ProgramContainers:
    """What :func:`sandbox.attempt.attempt` takes containers of a program from.

    Args:
        kept: Containers of all programs.
        program: Digest of this one.
    """

    def __init__(self, kept: KeptContainers, program: str) -> None:
        self._kept = kept
        self._program = program

    def take(self) -> Container:
        """See :meth:`KeptContainers.take`."""
        return self._kept.take(self._program)

    def discard(self, container: Container) -> None:
        """See :meth:`KeptContainers.put`."""
        self._kept.put(self._program, container)
