"""The committed logs of searches over whole programs, which docs/program-search.md quotes."""

import gzip
from pathlib import Path

from autoprune.search.search import LOG_FILE

ROOT = Path(__file__).parents[2]


def programs_search(folder: Path, name: str = "programs-2") -> Path:
    """Unpack a log of ``evidence/`` into a search's folder; its path."""
    log = folder / LOG_FILE
    log.write_bytes(gzip.decompress((ROOT / "evidence" / f"{name}.db.gz").read_bytes()))
    return log
