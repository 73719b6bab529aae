"""How a process of ours ends: at once."""

import atexit
import gc


def end_fast() -> None:
    """Let the interpreter end without its last garbage collection.

    That one walks all of torch for two seconds, during which a cancelled run is not yet called
    Cancelled and a command's prompt does not come back; the memory is given back either way.
    """
    atexit.register(gc.freeze)
