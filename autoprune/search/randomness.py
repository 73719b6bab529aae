"""Every random choice has its own generator: nothing to save, and order does not matter."""

from random import Random

from autoprune.digest import digest_json


def stream_seed(seed: int, generation: int, slot: int, purpose: str) -> int:
    """A 31-bit seed for one decision."""
    return int(digest_json([seed, generation, slot, purpose])[:8], 16) & 0x7FFFFFFF


def stream(seed: int, generation: int, slot: int, purpose: str) -> Random:
    """The generator of one decision; equal arguments give equal choices on every machine."""
    return Random(stream_seed(seed, generation, slot, purpose))
