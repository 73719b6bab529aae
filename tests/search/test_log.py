"""The log of a search: one writer, no damage unnoticed, nothing rewritten."""

import sqlite3
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from autoprune.errors import DamagedFileError, PrerequisiteError
from autoprune.search import Search
from tests.support.synthetic import make_spec


def test_one_writer(tmp_path: Path) -> None:
    with (
        Search.open(tmp_path, make_spec()),
        pytest.raises(PrerequisiteError, match="another process") as caught,
    ):
        Search.open(tmp_path, wait=0.0)
    # `resume` meets this too, and has no such option.
    assert "`autoprune search --run NAME`" in str(caught.value)


def test_a_reader_of_the_log_refuses_no_writer(tmp_path: Path) -> None:
    Search.open(tmp_path, make_spec()).close()
    reader = FileLock(tmp_path / "search.db.lock", thread_local=False)
    reader.acquire()
    ended = threading.Timer(0.3, reader.release)
    ended.start()
    Search.open(tmp_path).close()
    ended.join()


def test_damaged_log_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "search.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DamagedFileError, match=r"search\.db"):
        Search.open(tmp_path, make_spec())


def test_log_is_append_only(tmp_path: Path) -> None:
    Search.open(tmp_path, make_spec()).close()
    database = sqlite3.connect(tmp_path / "search.db")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute("DELETE FROM events")
    database.close()
