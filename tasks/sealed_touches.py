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


def touch(state: State, text: str, run: str, whole: str | None = None) -> int:
    """Note that ``run`` is about to measure on a sealed text; the same run counts once.

    One ledger for searches, evaluations, comparisons and promotions, written under a lock, since
    several processes may share the state folder. Models are not told apart: a text that one pruned
    model was chosen by is known to whoever chooses the next. Who measures on a whole corpus reads
    what any split of it seals, so a look at the whole counts for each of its sealed parts.

    Args:
        state: The state folder.
        text: Digest of the sealed text, or of a whole corpus.
        run: Name of the run.
        whole: Digest of the corpus that the sealed text is a part of; None for a whole corpus.

    Returns:
        Touches of this text so far, this one included.

    Raises:
        DamagedFileError: If a line before the last is no entry.
    """
    return len(_runs(_noted(state, text, run, whole), text, whole))


def touches(state: State, text: str, whole: str | None = None) -> int:
    """How often a sealed text was measured on so far; see :func:`touch`.

    Raises:
        DamagedFileError: If a line before the last is no entry.
    """
    path = state.root / _FILE
    with _locked(path):
        entries, _ = _read(path)
    return len(_runs(entries, text, whole))


class Looks:
    """The looks of one run, noted before they are taken.

    Args:
        state: The state folder.
        run: Name of the run.
    """

    def __init__(self, state: State, run: str) -> None:
        self._state = state
        self._run = run
        self.counts: dict[str, int] = {}

    def note(self, text: str, whole: str) -> None:
        """Note a look, and count all that there were; of a whole corpus only if it was split.

        Args:
            text: Digest of the text that will be measured on, sealed or a whole corpus.
            whole: Digest of the corpus that it is, or is a part of.
        """
        part_of = whole if text != whole else None
        entries = _noted(self._state, text, self._run, part_of)
        if part_of or any(entry.get("whole") == whole for entry in entries):
            self.counts[text] = len(_runs(entries, text, part_of))


def _noted(state: State, text: str, run: str, whole: str | None) -> list[dict[str, Any]]:
    """Note a look, unless this run noted it before; all entries, this one included."""
    path = state.root / _FILE
    with _locked(path):
        entries, taken = _read(path)
        entry = {"text": text, "run": run} | ({"whole": whole} if whole else {})
        if not any((known["text"], known["run"]) == (text, run) for known in entries):
            _append(path, taken, json.dumps(entry))
        return [*entries, entry]


def _runs(entries: list[dict[str, Any]], text: str, whole: str | None) -> set[str]:
    """Runs that looked at a text, at the whole it is a part of, or at a sealed part of it."""
    return {
        entry["run"]
        for entry in entries
        if entry["text"] in (text, whole) or entry.get("whole") == text
    }


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
