"""A pool of containers that are made ahead of time, used once, and then killed.

Making one takes about a second and killing one a tenth, so both happen in the background.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable

from sandbox.container import Container

_MARGIN_S = 5


class Pool:
    """Keeps ``size`` containers ready.

    Args:
        make: Makes one container; called in a background thread.
        size: How many are kept waiting; with 0, one is made on demand.
        needed_s: A container with less lifetime left than this is not handed out.
    """

    def __init__(self, make: Callable[[], Container], size: int, needed_s: float) -> None:
        self._make = make
        self._size = size
        self._needed_s = needed_s + _MARGIN_S
        self._ready: deque[Container] = deque()
        self._wanted = 0
        self._error: BaseException | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._used: queue.SimpleQueue[Container | None] = queue.SimpleQueue()
        self._filler = threading.Thread(target=self._fill, name="sandbox-fill", daemon=True)
        self._closer = threading.Thread(target=self._close_used, name="sandbox-kill", daemon=True)
        self._filler.start()
        self._closer.start()

    def take(self) -> Container:
        """Wait for a ready container; the caller passes it to :meth:`discard` afterwards."""
        with self._changed:
            self._wanted += 1
            self._error = None
            self._changed.notify_all()
            try:
                while True:
                    while self._ready:
                        container = self._ready.popleft()
                        self._changed.notify_all()
                        if self.lasts(container):
                            return container
                        self._used.put(container)
                    if self._error is not None:
                        # All who wait raise it; the next request forgets it, and one is made.
                        raise self._error
                    if self._closing:
                        raise RuntimeError("the sandbox is closed")
                    self._changed.wait()
            finally:
                self._wanted -= 1

    def lasts(self, container: Container) -> bool:
        """Whether a waiting container is there for as long as a job may take."""
        return container.expires - time.monotonic() > self._needed_s and container.is_usable

    def discard(self, container: Container) -> None:
        """Kill a used container in the background."""
        self._used.put(container)

    def close(self) -> None:
        """Kill everything and wait until it is gone."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._filler.join()
        while self._ready:
            self._used.put(self._ready.popleft())
        self._used.put(None)
        self._closer.join()

    def _fill(self) -> None:
        while True:
            with self._changed:
                while not self._closing and (
                    len(self._ready) >= (self._size or min(1, self._wanted))
                    or (self._error and not self._wanted)
                ):
                    self._changed.wait()
                if self._closing:
                    return
            try:
                container = self._make()
            except BaseException as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                    # The waiting caller raises it; no other is made until the next request.
                    while self._error is not None and not self._closing:
                        self._changed.wait()
                continue
            with self._changed:
                self._ready.append(container)
                self._changed.notify_all()

    def _close_used(self) -> None:
        while (container := self._used.get()) is not None:
            container.close()
