"""The ledger file of looks: its place, whole lines under a lock, nothing ever lost.

It belongs to the installation and not to a state folder, which may be deleted at any time: a look
at a text cannot be undone.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from autoprune.errors import DamagedFileError, UsageError

log = logging.getLogger(__name__)

VARIABLE = "AUTOPRUNE_LEDGER"
FILE = "sealed-looks.jsonl"
# Where earlier versions kept it in the state folder, and its new name once migrated.
OLD_FILE = "sealed-touches.jsonl"
TAKEN = "sealed-touches.taken-over.jsonl"

Line = dict[str, Any]


def ledger_path() -> Path:
    """``$AUTOPRUNE_LEDGER``, else a file below ``$XDG_STATE_HOME``, else ``~/.local/state``."""
    named = os.environ.get(VARIABLE)
    if named:
        path = Path(named).expanduser().absolute()
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or "")
        # The XDG base directory specification says to ignore a relative path.
        base = base if base.is_absolute() else Path.home() / ".local" / "state"
        path = base / "autoprune" / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the ledger of sealed looks {path} cannot be kept ({error.strerror}); set {VARIABLE} "
            "to a file in a folder that can be written"
        ) from error
    if path.is_dir():
        raise UsageError(
            f"the ledger of sealed looks {path} is a folder; set {VARIABLE} to a file, such as "
            f"{path / FILE}"
        )
    return path


@contextmanager
def locked_ledger(state_folder: Path) -> Iterator["Ledger"]:
    """Open the ledger while no other process can write to it."""
    path = ledger_path()
    with _locked(path):
        ledger = Ledger(path)
        old = state_folder / OLD_FILE
        if old.is_file():
            with _locked(old):
                _take_over(ledger, old)
        yield ledger


class Ledger:
    """The lines of a ledger file, read at once; use it under its lock.

    Args:
        path: The file; a missing one is an empty ledger.

    Raises:
        DamagedFileError: If a line before the last is not an entry.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines, self._whole = _read(path)

    def append(self, lines: Sequence[Line]) -> None:
        """Write lines after the complete ones, over what a killed writer left there."""
        if not lines:
            return
        path, whole = self._path, self._whole
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        with path.open("r+b" if path.exists() else "xb") as stream:
            stream.truncate(whole)
            stream.seek(whole)
            # A last entry that lacks only its newline is kept.
            if whole and path.read_bytes()[whole - 1 : whole] != b"\n":
                text = b"\n" + text
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        self._whole += len(text)
        self.lines.extend(lines)


def same_look(line: Line) -> tuple[Any, Any]:
    """Key under which two looks count as one: the text and the run."""
    return line.get("text"), line.get("run")


def _take_over(ledger: Ledger, old: Path) -> None:
    """Add what only the old file has; if killed in between, the next run does it again."""
    known = {same_look(line) for line in ledger.lines}
    found, _ = _read(old)
    ledger.append([line for line in found if same_look(line) not in known])
    # Rename it, so that it is not read again and nothing is lost.
    old.replace(old.with_name(TAKEN))


def _locked(path: Path) -> FileLock:
    return FileLock(str(path) + ".lock")


def _read(path: Path) -> tuple[list[Line], int]:
    """All lines, and how many bytes of the file they take.

    A truncated last line was being written when its process died, before it looked at the text:
    it is not a look, and the next line replaces it.
    """
    if not path.is_file():
        return [], 0
    found: list[Line] = []
    whole = 0
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        entry = _entry(line)
        if entry is not None:
            found.append(entry)
        elif not line.strip():
            pass
        elif number == len(lines) and not line.endswith(b"\n"):
            # Commands show only errors, and this is worth a line.
            log.error("%s: the last line is cut, its writer was killed; it is left out", path)
            break
        else:
            raise DamagedFileError(
                f"{path}, line {number}, is not an entry of this ledger; it counts the looks at "
                "sealed texts, so correct the line by hand, or delete it if you know what it was"
            )
        whole += len(line)
    return found, whole


_KINDS: tuple[Callable[[Line], bool], ...] = (
    lambda line: {"text", "run"} <= line.keys(),
    lambda line: {"set", "documents"} <= line.keys(),
)


def _entry(line: bytes) -> Line | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and any(kind(found) for kind in _KINDS) else None
