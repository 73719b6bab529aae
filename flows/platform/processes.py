"""Processes in their own session that outlive a command, identified by pid and start time."""

import os
import signal
import subprocess
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from autoprune.storage import read_object, write_json
from tasks.started_process import find_process
from tasks.state import State

STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Running:
    """One process that ``autoprune up`` started.

    Args:
        pid: Process id.
        created: When it started, seconds since 1970.
        url: Where it answers; for the worker, the API from which it takes runs.
        log: Its log file.
    """

    pid: int
    created: float
    url: str
    log: str

    @property
    def port(self) -> int | None:
        """Port of the address; None if it has none."""
        return urllib.parse.urlsplit(self.url).port

    def process(self) -> psutil.Process | None:
        """Return the process; None if it is gone."""
        try:
            return find_process(self.pid, self.created)
        except psutil.Error:
            return None


@dataclass(frozen=True)
class Register:
    """The file that lists what was started, so that another command can reuse or stop it.

    Args:
        file: The JSON file.
    """

    file: Path

    def read(self) -> dict[str, Running]:
        """Return the listed services that are still alive, by name."""
        return {name: running for name, running in self.noted().items() if running.process()}

    def noted(self) -> dict[str, Running]:
        """Return the listed services by name; one that is dead but still listed ended by itself."""
        if not self.file.exists():
            return {}
        return {name: Running(**record) for name, record in read_object(self.file).items()}

    def port(self, name: str) -> int | None:
        """Return the port of a listed service, alive or not."""
        found = self.noted().get(name)
        return None if found is None else found.port

    def add(self, name: str, running: Running) -> None:
        """Add a started service."""
        self._write(self.noted() | {name: running})

    def remove(self, names: Iterable[str]) -> None:
        """Remove services from the list."""
        gone = set(names)
        self._write({name: one for name, one in self.noted().items() if name not in gone})

    def _write(self, services: Mapping[str, Running]) -> None:
        records: dict[str, Any] = {name: asdict(running) for name, running in services.items()}
        if records:
            write_json(self.file, records)
        else:
            self.file.unlink(missing_ok=True)


def folder(state: State) -> Path:
    """Return the folder of the platform's register, login and logs."""
    return state.root / "platform"


def register_of(state: State) -> Register:
    """Return the register of what this state folder's commands started."""
    return Register(folder(state) / "services.json")


def start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, url: str
) -> Running:
    """Start a process that a Ctrl-C in the terminal does not reach."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    return Running(process.pid, psutil.Process(process.pid).create_time(), url, str(log))


def stop(running: Running, seconds: float = STOP_SECONDS) -> None:
    """End a process and its descendants: ask first, force after ``seconds``."""
    process = running.process()
    if process is None:
        return
    family = [process]
    with suppress(psutil.Error):
        family += process.children(recursive=True)
    _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs([process], timeout=seconds)
    # What the parent did not end itself, such as a run of a killed worker.
    rest = [member for member in family if member.is_running() and member not in alive]
    for member in rest:
        _signal(member, signal.SIGTERM)
    _, left = psutil.wait_procs(rest, timeout=seconds / 4)
    for member in {*alive, *left}:
        _signal(member, signal.SIGKILL)
    psutil.wait_procs([*alive, *left], timeout=seconds / 4)
    with suppress(ChildProcessError):
        os.waitpid(running.pid, os.WNOHANG)


def port_holder(port: int) -> str:
    """Say who listens on a port of this machine, for messages; empty if that is not visible."""
    try:
        listening = [
            connection
            for connection in psutil.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (port,)
        ]
        if listening and listening[0].pid:
            process = psutil.Process(listening[0].pid)
            return f"process {process.pid}, {process.name()}"
    except psutil.Error:
        # Other users' processes cannot be inspected.
        return ""
    return ""


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)
