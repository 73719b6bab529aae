"""Commands of this process: what they are given, what they print, with which code they end."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main

# A pruning of seconds, by Wanda where no metric is named.
PRUNE = "prune MODEL --corpus TEXT --calibration-windows 2 --metric wanda -q"


@dataclass(frozen=True)
class Printed:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def record(self) -> dict[str, Any]:
        """What stands on the standard output with ``--json``."""
        found: dict[str, Any] = json.loads(self.out)
        return found


class CommandLine:
    """Runs commands in this process.

    Args:
        capsys: Of the test.
        places: What a word of a line stands for, such as ``MODEL`` for a folder.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str], **places: Path) -> None:
        self._capsys, self.places = capsys, places

    def words(self, line: str, *more: object) -> list[str]:
        """The words of a line, and after them others as they are."""
        return [str(self.places.get(word, word)) for word in line.split()] + [*map(str, more)]

    def __call__(self, line: str, *more: object, code: int | None = 0) -> Printed:
        """Run a command, which must end with this exit code, or with any."""
        self._capsys.readouterr()
        printed = Printed(main(self.words(line, *more)), *self._capsys.readouterr())
        assert code in (None, printed.code), (line, printed.code, printed.err or printed.out)
        return printed

    def record(self, line: str, *more: object, code: int = 0) -> dict[str, Any]:
        """Run a command for its record alone."""
        return self(line, *more, "--json", "-q", code=code).record

    def refuses(self, line: str, *parts: str, code: int = 2) -> Printed:
        """Run a command that ends with this code and one message that has all parts."""
        printed = self(line, code=code)
        lines = printed.err.strip().splitlines()
        # What had begun names the command that goes on with it.
        message = lines[-2 if lines[-1].startswith("next  ") else -1]
        assert message.startswith("autoprune: ") and "Traceback" not in printed.err, printed.err
        assert all(part in message for part in parts), (line, message)
        return printed
