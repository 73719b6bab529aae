"""Finished suites of an interrupted evaluation: the same command does not measure them again.

They stay in the evaluation's folder until it is complete and its record holds them.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.digest import digest_json
from autoprune.errors import DamagedFileError
from autoprune.storage import read_object, write_json
from tasks.state import State


@dataclass(frozen=True)
class EvaluationParts:
    """The library's :class:`autoprune.bench.suites.Parts`, in files.

    Args:
        state: The state folder.
        run: Name of the evaluation.
    """

    state: State
    run: str

    def read(self, what: list[Any]) -> dict[str, Any] | None:
        """A finished part; None if there is none that can be read."""
        file = self._file(what)
        try:
            return read_object(file) if file.is_file() else None
        except DamagedFileError:
            return None

    def write(self, what: list[Any], part: dict[str, Any]) -> None:
        """Keep a finished part."""
        file = self._file(what)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, part)

    def forget(self) -> None:
        """Delete the parts of a complete evaluation, so that the next one measures again."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, what: list[Any]) -> Path:
        return self._folder / f"{digest_json(what)[:32]}.json"

    @property
    def _folder(self) -> Path:
        return self.state.root / "evaluations" / self.run / "parts"
