"""Owner of a container, in a form that survives the reuse of process ids."""

import hashlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

LABEL_OWNER = "autoprune.sandbox.owner"
LABEL_DEADLINE = "autoprune.sandbox.deadline"
LABEL_RUN = "autoprune.sandbox.run"
LABEL_BOX = "autoprune.sandbox.box"


def this_process() -> str:
    """``machine:boot id:pid namespace:pid:start time`` of this process."""
    pid = os.getpid()
    return f"{_machine()}:{_boot_id()}:{_namespace()}:{pid}:{_start_time(pid)}"


def process_of(owner: str) -> int | None:
    """Id of the process, if it is one of this machine."""
    parts = owner.split(":")
    if len(parts) != 5 or not parts[3].isdigit() or parts[0] != _machine():
        return None
    return int(parts[3])


def owner_is_gone(owner: str) -> bool:
    """Whether the process has certainly ended; False for processes elsewhere."""
    number = process_of(owner)
    if number is None:
        # A folder on a shared disk, or a container of a daemon that several machines use.
        return False
    _, boot, namespace, _, start = owner.split(":")
    if boot != _boot_id():
        return True
    # In another container the same pid means another process: only its deadline may decide.
    return namespace == _namespace() and _start_time(number) != start


def is_orphan(labels: Mapping[str, str], now: float | None = None) -> bool:
    """Whether a container is past its deadline or its owner is gone."""
    try:
        deadline = float(labels.get(LABEL_DEADLINE, "inf"))
    except ValueError:
        deadline = 0.0
    late = (time.time() if now is None else now) > deadline
    return late or owner_is_gone(labels.get(LABEL_OWNER, ""))


def _machine() -> str:
    """This machine, the same after a restart; copies of one image differ by their names."""
    known = Path("/etc/machine-id")
    number = known.read_text(encoding="ascii").strip() if known.is_file() else ""
    return hashlib.sha256(f"{number} {socket.gethostname()}".encode()).hexdigest()[:16]


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")


def _start_time(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "gone"
    # Field 22; the command's name in field 2 may hold spaces and brackets.
    return text.rpartition(")")[2].split()[19]
