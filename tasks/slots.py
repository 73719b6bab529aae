"""Holders of a machine's slots: notes of the processes at work, and Prefect's own records.

Prefect counts slots in its database and keeps leases in files. A killed process leaves both
behind; its note in the state folder shows that it is gone.
"""

import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psutil

from autoprune.storage import read_object, write_json
from tasks.started_process import find_process
from tasks.state import State


@dataclass(frozen=True)
class Note:
    """A slot and the process that took it.

    Args:
        lease: Number of the lease.
        limit: Name of the limit.
        pid: Id of the process.
        created: When it started, seconds since 1970; tells processes with the same pid apart.
        host: Its machine.
    """

    lease: UUID
    limit: str
    pid: int
    created: float
    host: str

    @property
    def is_here(self) -> bool:
        """Whether this machine can tell if the process is alive."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs, on this machine."""
        if not self.is_here:
            return False
        if self.pid == os.getpid():
            return True
        try:
            return find_process(self.pid, self.created) is not None
        except psutil.Error:
            return False


@dataclass(frozen=True)
class Slots:
    """A limit as recorded in the database of the state folder.

    Args:
        number: The limit's id.
        name: Its name.
        limit: Number of slots.
        active: Number of slots taken.
    """

    number: UUID
    name: str
    limit: int
    active: int


def write_note(state: State, lease: UUID, limit: str) -> None:
    """Record that this process holds a slot."""
    me = psutil.Process()
    _folder(state).mkdir(parents=True, exist_ok=True)
    record = {"pid": me.pid, "created": me.create_time(), "limit": limit}
    write_json(_file(state, lease), record | {"host": socket.gethostname()})


def remove_note(state: State, lease: UUID) -> None:
    """Record that a slot was given back."""
    _file(state, lease).unlink(missing_ok=True)


def notes(state: State) -> list[Note]:
    """All notes, of processes alive or dead."""
    found = []
    # Names with a leading dot are notes that another process is still writing.
    for file in sorted(_folder(state).glob("[!.]*.json")):
        try:
            record = read_object(file)
        except FileNotFoundError:
            # Its slot was given back since the folder was listed.
            continue
        words = record["limit"], record["pid"], record["created"], record["host"]
        found.append(Note(UUID(file.stem), *words))
    return found


def local_slots(state: State) -> list[Slots]:
    """The limits in the Prefect database of this state folder; none if there is no such file."""
    file = state.prefect / "prefect.db"
    if not file.exists():
        return []
    query = 'SELECT id, name, "limit", active_slots FROM concurrency_limit_v2 WHERE active'
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5.0)) as database:
            rows = database.execute(query).fetchall()
    except sqlite3.DatabaseError:
        # Not created yet, or damaged, which `autoprune doctor` reports elsewhere.
        return []
    return [Slots(UUID(str(number)), *rest) for number, *rest in rows]


def unheld(state: State, slots: Slots) -> int:
    """Number of slots of a limit that count as taken although no live holder has them.

    A holder is a live process of this folder or, since other projects and machines may share the
    server, an unexpired lease that does not belong to a process known to be gone.
    """
    known = notes(state)
    gone = {note.lease for note in known if note.is_here and not note.is_alive}
    held = {note.lease: 1 for note in known if note.is_alive and note.limit == slots.name}
    held |= {lease: count for lease, count in _leases(state, slots.number) if lease not in gone}
    return max(0, slots.active - sum(held.values()))


def _leases(state: State, limit: UUID) -> Iterator[tuple[UUID, int]]:
    """Unexpired leases of a limit, each with its number of slots."""
    for file in (state.prefect / "concurrency_leases").glob("*-*.json"):
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            ends = datetime.fromisoformat(record["expiration"])
            if ends > datetime.now(UTC) and str(limit) in record["resource_ids"]:
                yield UUID(record["id"]), int((record["metadata"] or {}).get("slots", 1))
        except (OSError, ValueError, KeyError, TypeError):
            # It ended while it was being read, or is not a lease.
            continue


def _folder(state: State) -> Path:
    return state.root / "turns"


def _file(state: State, lease: UUID) -> Path:
    return _folder(state) / f"{lease}.json"
