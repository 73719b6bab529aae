"""Keep freed memory in the process, for loops that ask for the same blocks again and again."""

import ctypes
import sys

# Parameters of mallopt(3), and what they are set to: blocks of up to 1 GiB come from the heap,
# whose end is given back only from 2 GiB on.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_BLOCK, LARGEST_REST = 1 << 30, (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks until the process ends, instead of returning them to the system.

    Otherwise every step of a training maps its gradients anew, and the system clears and counts
    each page: a tenth of the processor's time on a virtual machine.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(
        mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK) and mallopt(M_TRIM_THRESHOLD, LARGEST_REST)
    )
