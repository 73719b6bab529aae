"""Which splits of the text unfinished commands of this folder have taken by ``fresh``."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from filelock import FileLock

from autoprune.storage import read_object
from tasks.state import State


def splits_folder(state: State) -> Path:
    """Folder with one file for each such command."""
    return state.root / "fresh"


def kept_splits(state: State) -> dict[Path, dict[str, Any]]:
    """Content of all these files; a killed command may have left a hidden, unfinished one."""
    return {file: read_object(file) for file in splits_folder(state).glob("[!.]*.json")}


def locked_splits(state: State) -> FileLock:
    """Lock over these files."""
    return FileLock(f"{splits_folder(state)}.lock")


def forget_runs(state: State, names: Collection[str]) -> None:
    """Forget the splits of searches that are gone, which may have looked at their sets."""
    with locked_splits(state):
        for file, known in kept_splits(state).items():
            if known.get("run") in names:
                file.unlink()
