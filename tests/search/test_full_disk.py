"""The log when the disk is full or somebody else holds the file: words, and nothing lost."""

import sqlite3
from pathlib import Path

import pytest

from autoprune.errors import AutopruneError, DamagedFileError
from autoprune.search.events import EventLog


def test_a_full_disk_keeps_what_was_written(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "search.db")
    log.append("outcome", "1", {"kept": True})
    pages = log._database.execute("PRAGMA page_count").fetchone()[0]
    # What SQLite says when the disk has no page more to give.
    log._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(AutopruneError, match="is full; free some space") as refused:
        log.append("outcome", "2", {"text": "x" * 100_000})
    assert not isinstance(refused.value, DamagedFileError)
    log.close()
    again = EventLog(tmp_path / "search.db")
    assert [event.key for event in again] == ["1"]
    again.append("outcome", "2", {})
    again.close()


def test_a_locked_file_is_no_damaged_file(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "search.db")
    log.append("outcome", "1", {})
    log._database.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(tmp_path / "search.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(AutopruneError, match="another program holds") as refused:
        log.append("outcome", "2", {})
    assert not isinstance(refused.value, DamagedFileError)
    other.execute("ROLLBACK")
    other.close()
    assert log.append("outcome", "2", {}).key == "2"
    log.close()
