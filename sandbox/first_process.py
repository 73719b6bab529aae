"""The first process of a container, watched from the host to know for sure when it is gone."""

import contextlib
import os
import select
from pathlib import Path


class FirstProcess:
    """A handle that stays bound to its process, even if the pid is reused.

    Args:
        pidfd: Descriptor of the process; closed by :meth:`close`.
    """

    def __init__(self, pidfd: int) -> None:
        self._pidfd = pidfd

    @classmethod
    def of(cls, container: str, pid: int) -> "FirstProcess | None":
        """The process ``pid`` if it is visible here and belongs to ``container``, else None.

        A client that itself runs in a container sees other pids than the daemon does.
        """
        try:
            pidfd = os.pidfd_open(pid)
        except (OSError, AttributeError):
            return None
        with contextlib.suppress(OSError):
            if container in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8"):
                return cls(pidfd)
        os.close(pidfd)
        return None

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False if it is still alive."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(int(seconds * 1000)))

    def close(self) -> None:
        """Close the handle."""
        os.close(self._pidfd)
