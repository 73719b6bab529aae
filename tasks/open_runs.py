"""Notes of the processes that write runs of MLflow, which has no sign of life of its own.

A killed process leaves its run RUNNING for good. Its note, a file in the state folder, stays behind
as well and names the process, so that a later command can end the run.
"""

import os
import socket
from pathlib import Path

import psutil

from autoprune.errors import DamagedFileError
from autoprune.storage import read_object, write_json
from tasks.started_process import find_process
from tasks.state import State


def process_mark() -> str:
    """Identity of this process: machine, pid, start time."""
    me = psutil.Process()
    return f"{socket.gethostname()}/{me.pid}/{me.create_time():.2f}"


def process_is_gone(mark: str) -> bool:
    """Whether the process of a mark is known to have ended; False if nothing is known."""
    host, _, rest = mark.rpartition("/")[0].rpartition("/")
    if host != socket.gethostname() or int(rest) == os.getpid():
        return False
    try:
        return find_process(int(rest), float(mark.rpartition("/")[2])) is None
    except psutil.Error:
        return False


def note_open(state: State, run: str) -> None:
    """Note that this process writes a run."""
    _folder(state).mkdir(parents=True, exist_ok=True)
    write_json(_file(state, run), {"process": process_mark(), "store": state.tracking_place})


def note_closed(state: State, run: str) -> None:
    """Remove the note of a run that has ended."""
    _file(state, run).unlink(missing_ok=True)


def left_open(state: State) -> list[str]:
    """MLflow's ids of the runs in the store in use whose process was killed."""
    found = []
    # Names with a leading dot are notes that another process is still writing.
    for file in sorted(_folder(state).glob("[!.]*.json")):
        try:
            note = read_object(file)
        except (FileNotFoundError, DamagedFileError):
            continue
        here = note.get("store") == state.tracking_place
        if here and process_is_gone(str(note.get("process", ""))):
            found.append(file.stem)
    return found


def _folder(state: State) -> Path:
    return state.root / "open_runs"


def _file(state: State, run: str) -> Path:
    return _folder(state) / f"{run}.json"
