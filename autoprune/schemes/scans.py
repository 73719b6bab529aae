"""Scores of blocks, remembered from one scheme to the next on the same model and text."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from autoprune.digest import digest_json, windows_digest


class BlockScans:
    """What scans over one dense model found; the model's weights must not change between scans.

    Attributes:
        spared: Seconds that remembered scans took when they were made, once for each use.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[dict[int, float], float]] = {}
        self.spared = 0.0

    def find(self, key: str, scan: Callable[[], dict[int, float]]) -> dict[int, float]:
        """The scores under a key, by a scan if they are not known."""
        if key in self._known:
            found, seconds = self._known[key]
            self.spared += seconds
        else:
            started = time.perf_counter()
            found = scan()
            self._known[key] = found, time.perf_counter() - started
        return dict(found)


_current: ContextVar[BlockScans | None] = ContextVar("block scans", default=None)


@contextmanager
def remembering(scans: BlockScans) -> Iterator[None]:
    """Use and keep scans in this memory until the context ends."""
    token = _current.set(scans)
    try:
        yield
    finally:
        _current.reset(token)


def scanned(
    kind: str,
    windows: Tensor,
    sizes: Sequence[int],
    blocks: Sequence[Sequence[int]],
    scan: Callable[[], dict[int, float]],
) -> dict[int, float]:
    """Scores of blocks: remembered inside :func:`remembering`, found by a scan otherwise.

    Args:
        kind: What is measured.
        windows: Token ids that it is measured on, int64 [n, s].
        sizes: Parameters of each block, since an earlier part of a chain may have made them
            smaller.
        blocks: Numbers of the blocks that are scored, and of those that are gone.
        scan: Measures them.
    """
    memory = _current.get()
    if memory is None:
        return scan()
    asked = [kind, windows_digest(windows), list(sizes), [list(some) for some in blocks]]
    return memory.find(digest_json(asked), scan)


def seconds_spared() -> float:
    """Seconds spared so far by the memory in use; 0 without one."""
    memory = _current.get()
    return 0.0 if memory is None else memory.spared
