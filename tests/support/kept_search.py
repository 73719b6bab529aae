"""The committed log of the search over whole programs, which docs/program-search.md quotes."""

import gzip
from pathlib import Path

from autoprune.search.search import LOG_FILE
from benchmarks.measured import ROOT


def programs_search(folder: Path) -> Path:
    """Unpack the log into a search's folder; its path."""
    log = folder / LOG_FILE
    log.write_bytes(gzip.decompress((ROOT / "evidence" / "programs-2.db.gz").read_bytes()))
    return log
