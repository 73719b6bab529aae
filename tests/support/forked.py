"""Another process with all that this one has imported; a new one takes seconds to import it again.

A forked process has no thread but its own, so its work must neither compute with torch on several
threads nor wait for a thread.
"""

import os
import sys
import traceback
from collections.abc import Callable


def start(work: Callable[[], object]) -> int:
    """Do ``work`` in a process of its own, whose pid is returned.

    It exits with 0, or with 1 if ``work`` raises; nothing of this process runs at its end.
    """
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def ended(child: int) -> int:
    """Wait for its end; the exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
