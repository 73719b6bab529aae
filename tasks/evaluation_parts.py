"""Finished suites of an interrupted evaluation: the same command does not measure them again.

They stay in the evaluation's folder until it is complete and its record holds them.
"""

import shutil
from pathlib import Path
from typing import Any

from autoprune.digest import digest_json
from autoprune.errors import DamagedFileError
from autoprune.storage import write_json
from tasks.run_files import read_object
from tasks.state import State


def part_file(state: State, run: str, what: list[Any]) -> Path:
    """Path under which one suite of an evaluation is kept.

    Args:
        state: The state folder.
        run: Name of the evaluation.
        what: Everything that determines the suite's figures, plain JSON.
    """
    return _folder(state, run) / f"{digest_json(what)[:32]}.json"


def read_part(file: Path) -> dict[str, Any] | None:
    """A finished suite; None if there is none that can be read."""
    try:
        return read_object(file) if file.is_file() else None
    except DamagedFileError:
        return None


def write_part(file: Path, part: dict[str, Any]) -> None:
    """Keep a finished suite."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, part)


def forget_parts(state: State, run: str) -> None:
    """Delete the parts of a complete evaluation, so that the next one measures again."""
    shutil.rmtree(_folder(state, run), ignore_errors=True)


def _folder(state: State, run: str) -> Path:
    return state.root / "evaluations" / run / "parts"
