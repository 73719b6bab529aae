"""Processor time of the containers of some processes, as the host's kernel counts it."""

from collections.abc import Collection

import psutil

from sandbox.engine import ENGINE_ERRORS, ContainerEngine
from sandbox.errors import SandboxError
from sandbox.ownership import LABEL_OWNER, process_of


class ContainerTime:
    """Adds up what the containers of this machine's runs use.

    What a container used after the last :meth:`look` before its end is not counted, so look every
    few seconds.
    """

    def __init__(self) -> None:
        self._engine: ContainerEngine | None = None
        self._first: dict[str, int] = {}
        self._seconds: dict[str, float] = {}

    def look(self, owners: Collection[int]) -> float:
        """Return the processor seconds that all containers of these processes used so far."""
        try:
            self._engine = self._engine or ContainerEngine()
            for info in self._engine.list():
                if process_of((info.get("Labels") or {}).get(LABEL_OWNER, "")) in owners:
                    self._read(self._engine, info["Id"])
        except (*ENGINE_ERRORS, SandboxError):
            # Its absence is another module's message.
            self.close()
        return sum(self._seconds.values())

    def close(self) -> None:
        """Close the connection to the Docker Engine."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _read(self, engine: ContainerEngine, container: str) -> None:
        """Update the seconds of one container."""
        if not self._first.get(container):
            self._first[container] = engine.state(container).pid
        seconds = 0.0
        try:
            # Those that have ended are in the sums of the process that started them.
            first = psutil.Process(self._first[container])
            for process in (first, *first.children(recursive=True)):
                used = process.cpu_times()
                seconds += used.user + used.system + used.children_user + used.children_system
        except psutil.Error:
            return
        self._seconds[container] = max(self._seconds.get(container, 0.0), seconds)
