"""Which processes read a state folder's caches: each holds a lock that ends with it."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from tasks.state import State

_FOLDER = "in-use"


@contextmanager
def reading_caches(state: State) -> Iterator[None]:
    """Say that this process reads the caches while the body runs; a killed one no longer does."""
    folder = state.root / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.lock"
    try:
        with FileLock(str(path)):
            yield
    finally:
        path.unlink(missing_ok=True)


def caches_are_read(state: State) -> bool:
    """Whether some process reads the caches right now."""
    for path in (state.root / _FOLDER).glob("*.lock"):
        try:
            with FileLock(str(path)).acquire(timeout=0):
                path.unlink(missing_ok=True)
        except Timeout:
            return True
    return False
