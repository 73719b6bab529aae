"""A process by pid and start time: pids are reused, so the pid alone does not identify it."""

import psutil

SAME_START_SECONDS = 1.0


def find_process(pid: int, created: float) -> psutil.Process | None:
    """Find a process of this machine; None if it has ended."""
    try:
        found = psutil.Process(pid)
        same = abs(found.create_time() - created) < SAME_START_SECONDS
        return found if same and found.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None
