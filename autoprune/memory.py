"""Peak memory use of this process. Standard library only."""

import resource
import sys
from pathlib import Path


def peak_rss_mb() -> float:
    """Peak resident set of this process in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike ru_maxrss, this is reset on exec and does not start at the parent's size.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
