"""Reference to an image: its tag, its id, and what is mounted on top of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageRef:
    """An existing image, ready to create containers from.

    Args:
        kind: ``bind``, ``interpreter`` or ``dockerfile``.
        tag: ``autoprune-sandbox:KIND-DIGEST``; the digest covers worker, Python and packages,
            so it goes into every record and cache key.
        id: The daemon's content id.
        mounts: Read-only (host path, container path) pairs; empty unless ``bind``.
        masked: Container folders covered by an empty read-only file system.
    """

    kind: str
    tag: str
    id: str
    mounts: tuple[tuple[str, str], ...] = ()
    masked: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.tag
