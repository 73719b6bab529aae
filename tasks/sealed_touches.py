"""How often each sealed text was measured on: a count that only grows, kept in the state folder."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from autoprune.errors import DamagedFileError
from tasks.state import State

log = logging.getLogger(__name__)

_FILE = "sealed-touches.jsonl"


def touch(state: State, text: str, run: str) -> int:
    """Note that ``run`` is about to measure on a sealed text; the same run counts once.

    One ledger for searches, evaluations, comparisons and promotions, written under a lock, since
    several processes may share the state folder. Models are not told apart: a text that one pruned
    model was chosen by is known to whoever chooses the next.

    Args:
        state: The state folder.
        text: Digest of the sealed text.
        run: Name of the run.

    Returns:
        Touches of this text so far, this one included.

    Raises:
        DamagedFileError: If a line before the last is no entry.
    """
    path = state.root / _FILE
    with _locked(path):
        entries, whole = _read(path)
        runs = {entry["run"] for entry in entries if entry["text"] == text}
        if run not in runs:
            _append(path, whole, json.dumps({"text": text, "run": run}))
        return len(runs | {run})


def touches(state: State, text: str) -> int:
    """How often a sealed text was measured on so far.

    Raises:
        DamagedFileError: If a line before the last is no entry.
    """
    path = state.root / _FILE
    with _locked(path):
        entries, _ = _read(path)
    return len({entry["run"] for entry in entries if entry["text"] == text})


def _locked(path: Path) -> FileLock:
    return FileLock(str(path) + ".lock")


def _append(path: Path, whole: int, line: str) -> None:
    """Write a line behind the first ``whole`` bytes; the rest is what a killed writer left."""
    with path.open("r+b" if path.exists() else "xb") as stream:
        stream.truncate(whole)
        stream.seek(whole)
        # A last entry that lacks nothing but its line's end is kept.
        ended = whole == 0 or path.read_bytes()[whole - 1 : whole] == b"\n"
        stream.write(("" if ended else "\n").encode() + line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """All entries, and how many bytes of the file they take.

    A last line that is cut was being written when its process died, before it looked at the text:
    it is no touch, and the next entry takes its place.
    """
    if not path.is_file():
        return [], 0
    entries: list[dict[str, Any]] = []
    whole = 0
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        entry = _entry(line)
        if entry is not None:
            entries.append(entry)
        elif not line.strip():
            pass
        elif number == len(lines) and not line.endswith(b"\n"):
            # Commands show errors only, and this is worth a line.
            log.error("%s: the last line is cut, its writer was killed; it is left out", path)
            break
        else:
            raise DamagedFileError(
                f"{path}, line {number}, is no entry of this ledger; it counts the looks at sealed "
                "texts, so mend the line by hand, or delete it if you know what it was"
            )
        whole += len(line)
    return entries, whole


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    known = isinstance(found, dict) and {"text", "run"} <= found.keys()
    return found if known else None
