"""The log when the disk is full, the file is held or was emptied: words, and nothing lost."""

import sqlite3
import sys
from pathlib import Path

import pytest

from autoprune.errors import AutopruneError, DamagedFileError
from autoprune.search import Search
from autoprune.search.events import EventLog
from tests.support.forked import ended, start
from tests.support.synthetic import make_spec


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


def test_an_emptied_log_is_no_new_search(tmp_path: Path) -> None:
    path = tmp_path / "search.db"
    Search.open(tmp_path, make_spec()).close()
    path.write_bytes(b"")
    for spec in (make_spec(), None):
        with pytest.raises(DamagedFileError, match=r"search\.db.*is empty"):
            Search.open(tmp_path, spec)
    assert path.read_bytes() == b""


def test_a_new_log_is_whole_from_its_first_moment(tmp_path: Path) -> None:
    path = tmp_path / "search.db"

    def watched() -> None:
        sizes: list[int] = []
        # There is no way to take a hook away again.
        sys.addaudithook(lambda *_: sizes.append(path.stat().st_size) if path.exists() else None)
        EventLog(path).close()
        assert sizes and min(sizes) > 0

    # A kill between any two calls must leave no file that is taken for an emptied one.
    assert ended(start(watched)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["search.db", "search.db.lock"]
