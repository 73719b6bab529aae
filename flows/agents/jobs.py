"""Commands started by an agent: processes that outlive the server and can be found again."""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from autoprune.errors import UnknownNameError, UsageError
from flows.platform import processes
from flows.platform.processes import Register, Running
from tasks.state import HOME_VARIABLE, State

# Every client waits at least this long for one reply.
LONGEST_WAIT = 50.0
LOOK_SECONDS = 0.25
LAST_LINES = 20
LARGEST_RESULT = 60_000


@dataclass(frozen=True)
class Jobs:
    """The commands started in one state folder.

    Args:
        state: Their state folder.
        root: Folder they run in.
    """

    state: State
    root: Path

    @property
    def folder(self) -> Path:
        """The folder of their logs."""
        return self.state.root / "agents"

    @property
    def register(self) -> Register:
        """The register of what was started."""
        return Register(self.folder / "jobs.json")

    def start(self, name: str, words: Sequence[str]) -> Running:
        """Start ``autoprune WORDS``; no shell reads them."""
        with self._changing():
            return self._start(name, words)

    def start_next(self, kind: str, words: Sequence[str]) -> str:
        """Start one more job of a kind, and return its name."""
        # Tools that an agent calls at once run in threads.
        with self._changing():
            name = self.free_name(kind)
            self._start(name, words)
            return name

    def _changing(self) -> FileLock:
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(str(self.folder / "jobs.lock"))

    def _start(self, name: str, words: Sequence[str]) -> Running:
        if self.is_alive(name):
            raise UsageError(f"{name} is already running; wait for it, or stop it")
        log = self.folder / f"{name}.log"
        log.unlink(missing_ok=True)
        # -P: import nothing from the project's folder.
        command = [sys.executable, "-P", "-m", "flows.cli", *words]
        environment = dict(os.environ) | {HOME_VARIABLE: str(self.state.root)}
        running = processes.start(command, environment, self.root, log, "")
        self.register.add(name, running)
        return running

    def is_alive(self, name: str) -> bool:
        """Return whether a job is running."""
        return name in self.register.read()

    def stop(self, name: str) -> bool:
        """Stop a job as Ctrl-C would; return False if it has already ended."""
        running = self.find(name)
        alive = running.process() is not None
        processes.stop(running)
        return alive

    def find(self, name: str) -> Running:
        """Return a job, running or not."""
        noted = self.register.noted()
        if name not in noted:
            raise UnknownNameError("job", name, noted)
        return noted[name]

    def free_name(self, kind: str) -> str:
        """Return a name for one more job of a kind."""
        noted = self.register.noted()
        numbers = (number for number in range(1, len(noted) + 2))
        return next(f"{kind}-{n}" for n in numbers if f"{kind}-{n}" not in noted)

    def wait(self, name: str, seconds: float) -> dict[str, Any]:
        """Return what a job printed, once it ends or the seconds have passed."""
        until = time.monotonic() + min(max(seconds, 0.0), LONGEST_WAIT)
        while (alive := self.is_alive(name)) and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        lines = self.last_lines(name)
        if alive:
            return {"job": name, "status": "working", "log": lines, "next": f"call job {name!r}"}
        result = self._result(name)
        if result is None:
            return {"job": name, "status": "failed", "log": lines, "next": "read the log"}
        return {"job": name, "status": "done", "result": result, "next": "read the result"}

    def last_lines(self, name: str) -> list[str]:
        """Return the end of a job's log."""
        text = Path(self.find(name).log).read_text(encoding="utf-8", errors="replace")
        return [line[:300] for line in text.splitlines()[-LAST_LINES:]]

    def _result(self, name: str) -> Mapping[str, Any] | None:
        """Return the JSON object that a command with ``--json`` prints, without large parts."""
        text = Path(self.find(name).log).read_text(encoding="utf-8", errors="replace")
        begin = f"\n{text}".rfind("\n{\n")
        try:
            found = json.loads(text[begin:].partition("\n}")[0] + "\n}") if begin >= 0 else None
        except ValueError:
            return None
        if not isinstance(found, dict):
            return None
        sizes = {key: len(json.dumps(value)) for key, value in found.items()}
        if sum(sizes.values()) <= LARGEST_RESULT:
            return found
        small = {key: v for key, v in found.items() if sizes[key] <= LARGEST_RESULT // 10}
        return small | {"left_out": sorted(found.keys() - small.keys())}
