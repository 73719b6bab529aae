"""Ends a process of ours without delay."""

import atexit
import gc


def end_fast() -> None:
    """Let the interpreter exit without its final garbage collection.

    That collection walks all of torch for two seconds, during which a cancelled run is not yet
    marked Cancelled and the prompt does not return; the memory is freed either way.
    """
    atexit.register(gc.freeze)
