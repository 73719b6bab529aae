"""The search's source of truth: an append-only log of outcomes in SQLite, one writer at a time.

State is never stored, only folded from these events, so a kill at any moment loses at most the
step in flight. Bodies are JSON; reading a log executes nothing.
"""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from autoprune.errors import AutopruneError, DamagedFileError, PrerequisiteError
from autoprune.storage import atomic_file

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (kind, key)
) STRICT;
CREATE TRIGGER IF NOT EXISTS events_stay BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_remain BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
"""


@dataclass(frozen=True)
class Event:
    """One recorded fact.

    Args:
        seq: Position in the log, strictly increasing.
        kind: What happened: ``opened``, ``outcome``, ``seal_touched``.
        key: Unique within the kind, for example the step's id.
        body: JSON content.
    """

    seq: int
    kind: str
    key: str
    body: dict[str, Any]


# Readers hold the lock of a log for a moment.
WAIT_SECONDS = 5.0


class EventLog:
    """An open log; holds the writer's lock until closed.

    Args:
        path: The SQLite file; its folder is created if missing.
        wait: Seconds to wait for the lock, which readers hold for a moment.

    Raises:
        PrerequisiteError: If another process has the log open.
        DamagedFileError: If the file is not a log or is damaged; names the file.
    """

    def __init__(self, path: Path, wait: float = WAIT_SECONDS) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{path}.lock")
        try:
            self._lock.acquire(timeout=wait)
        except Timeout:
            raise PrerequisiteError(
                f"the search in {path.parent} is running in another process; "
                "wait until it has ended, or begin another one with `autoprune search --run NAME`"
            ) from None
        try:
            # Created under another name first, so that no half-written log is ever in place.
            if not path.exists():
                with atomic_file(path) as temporary:
                    _make(temporary)
            elif path.stat().st_size == 0:
                raise sqlite3.DatabaseError("it is empty, and a log has at least its tables")
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(SCHEMA)
        except AutopruneError:
            self._lock.release()
            raise
        except sqlite3.DatabaseError as error:
            self._lock.release()
            raise _damaged(path, error) from error

    def append(self, kind: str, key: str, body: dict[str, Any]) -> Event:
        """Write one event durably."""
        text = _stored_text(body)
        try:
            cursor = self._database.execute(
                "INSERT INTO events (kind, key, body) VALUES (?, ?, ?)", (kind, key, text)
            )
        except sqlite3.IntegrityError as error:
            raise KeyError(f"{kind} {key} is on record") from error
        except sqlite3.OperationalError as error:
            raise _damaged(self.path, error) from error
        assert cursor.lastrowid is not None
        return Event(cursor.lastrowid, kind, key, json.loads(text))

    def __iter__(self) -> Iterator[Event]:
        """All events, oldest first."""
        try:
            rows = self._database.execute(
                "SELECT seq, kind, key, body FROM events ORDER BY seq"
            ).fetchall()
            events = [Event(seq, kind, key, json.loads(body)) for seq, kind, key, body in rows]
        except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
            raise _damaged(self.path, error) from error
        return iter(events)

    def close(self) -> None:
        """Close the file and let the next writer in."""
        self._database.close()
        self._lock.release()


def _make(path: Path) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.executescript(SCHEMA)
    finally:
        database.close()


def as_stored(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body as read back from a log: tuples are lists, lone surrogates escapes."""
    stored: dict[str, Any] = json.loads(_stored_text(body))
    return stored


def _stored_text(body: dict[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, allow_nan=False)
    # A lone surrogate from a broken answer cannot be stored as UTF-8.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _damaged(path: Path, error: Exception) -> AutopruneError:
    text = str(error)
    if "disk is full" in text:
        return AutopruneError(
            f"the disk that holds {path} is full; free some space and run the same command again; "
            "everything that was written before is kept"
        )
    if "locked" in text:
        return AutopruneError(
            f"another program holds {path} locked; end it and run the same command again; "
            "everything that was written before is kept"
        )
    return DamagedFileError(
        f"{path} is not a readable search log ({error}); "
        "restore the file, or delete its folder to start the search again"
    )
