"""Reads the log of a search, even while the search runs."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from autoprune.errors import DamagedFileError
from autoprune.search.events import Event


def read_events(log: Path) -> list[Event]:
    """Return all events of a log, oldest first; it is only read, even while its search runs."""
    return list(_events(log))


def _events(log: Path) -> Iterator[Event]:
    try:
        # Read-only: another process may have the log open, and its lock is for the writer.
        database = sqlite3.connect(f"{log.absolute().as_uri()}?mode=ro", uri=True)
        try:
            rows = database.execute("SELECT seq, kind, key, body FROM events ORDER BY seq")
            for seq, kind, key, body in rows.fetchall():
                yield Event(seq, kind, key, json.loads(body))
        finally:
            database.close()
    except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
        raise DamagedFileError(
            f"{log} is not a readable search log ({error}); restore the file"
        ) from error
