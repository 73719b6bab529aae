"""Cleans up after dead runs: containers and folders, by label and owner, never by name."""

import contextlib
from pathlib import Path

from sandbox.engine import ENGINE_ERRORS, ContainerEngine
from sandbox.exchange import remove_abandoned, workspace_roots
from sandbox.ownership import LABEL_BOX, is_orphan, owner_is_gone


def reap_orphans(engine: ContainerEngine, inputs: Path | None = None) -> int:
    """Remove containers past their deadline or without an owner, and abandoned folders."""
    removed = 0
    for info in engine.list():
        if is_orphan(info.get("Labels") or {}):
            removed += engine.remove(info["Id"])
    for root in workspace_roots(inputs or Path("/nonexistent")):
        remove_abandoned(root, owner_is_gone)
    return removed


def remove_box(engine: ContainerEngine, box: str) -> None:
    """Remove every container of one sandbox, even those whose creation or removal failed.

    A daemon that was away may have kept some; what cannot be removed now is left to the reaper
    of the next run.
    """
    with contextlib.suppress(*ENGINE_ERRORS):
        for info in engine.list(f"{LABEL_BOX}={box}"):
            engine.remove(info["Id"])
