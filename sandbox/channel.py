"""The attached stream of a container: Docker framing removed, byte budget and deadline added."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

from sandbox.worker.protocol import MAX_REPLY, Frame, FrameParser, ProtocolError

_DOCKER_PREFIX = struct.Struct(">BxxxI")
_STDOUT, _STDERR = 1, 2
_DIAGNOSTICS = 2000


class StreamEndedError(Exception):
    """The other end closed before it answered."""


class DeadlinePassedError(Exception):
    """No complete answer came in time."""


class Demultiplexer:
    """Splits Docker's attach stream into our frames and the broker's diagnostics.

    Args:
        budget: Total bytes accepted before the stream counts as hostile.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.diagnostics = b""
        self._parser = FrameParser(MAX_REPLY)
        self._prefix = bytearray()
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Add received bytes; return complete frames."""
        self.budget -= len(data)
        if self.budget < 0:
            raise ProtocolError("the container sent more bytes than a reply can have")
        frames: list[Frame] = []
        view = memoryview(data)
        while view:
            if self._left == 0:
                missing = _DOCKER_PREFIX.size - len(self._prefix)
                self._prefix += view[:missing]
                view = view[missing:]
                if len(self._prefix) < _DOCKER_PREFIX.size:
                    break
                self._stream, self._left = _DOCKER_PREFIX.unpack(self._prefix)
                self._prefix.clear()
                if self._stream not in (_STDOUT, _STDERR):
                    raise ProtocolError(f"Docker stream number {self._stream} does not exist")
                continue
            part = view[: self._left]
            view = view[len(part) :]
            self._left -= len(part)
            if self._stream == _STDOUT:
                frames += self._parser.feed(bytes(part))
            else:
                self.diagnostics = (self.diagnostics + bytes(part))[-_DIAGNOSTICS:]
        return frames


class Channel:
    """Sends one job at a time and yields replies until an absolute deadline.

    Args:
        stream: The raw attached socket.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._splitter = Demultiplexer(budget=1 << 16)

    @property
    def diagnostics(self) -> str:
        """The last line that the broker wrote to its standard error."""
        lines = self._splitter.diagnostics.decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    def send(self, data: bytes, deadline: float, reply_budget: int) -> None:
        """Send one frame; up to ``reply_budget`` bytes may come back for it."""
        self._splitter.budget = reply_budget
        try:
            self._stream.settimeout(_left(deadline))
            self._stream.sendall(data)
        except TimeoutError as error:
            raise DeadlinePassedError from error
        except OSError as error:
            raise StreamEndedError(str(error)) from error

    def frames(self, deadline: float) -> Iterator[Frame]:
        """Yield frames as they arrive."""
        while True:
            try:
                self._stream.settimeout(_left(deadline))
                data = self._stream.recv(1 << 16)
            except TimeoutError as error:
                raise DeadlinePassedError from error
            except OSError as error:
                raise StreamEndedError(str(error)) from error
            if not data:
                raise StreamEndedError("the container closed its end")
            yield from self._splitter.feed(data)

    @property
    def is_open(self) -> bool:
        """Whether the other end is still there; valid only while nothing is expected from it."""
        try:
            self._stream.setblocking(False)
            return len(self._stream.recv(1, socket.MSG_PEEK)) > 0
        except BlockingIOError:
            return True
        except OSError:
            return False

    def hang_up(self) -> None:
        """Close only the sending side: the broker exits when it reads end of file."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(1)

    def close(self) -> None:
        """Close at once; must come before the kill, which an unread stream would block."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(2)
        with contextlib.suppress(OSError):
            self._stream.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
