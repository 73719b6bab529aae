"""Cells of a study as files: their names, what is kept, what an entry of the record says."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.state import State

if TYPE_CHECKING:
    from autoprune.study.cells import Subject


def cell_id(
    subject: "Subject", model: str, text: dict[str, Any], suite: dict[str, Any], known: str
) -> str:
    """Under which name a cell is kept.

    Args:
        subject: The pruned model.
        model: Digest of the dense weights.
        text: Digest of the calibration text, windows, their length, seed and type of the weights.
        suite: Name and all settings.
        known: Digest of everything that must not be measured on.
    """
    from autoprune.study.cells import cell_digest, versions_of

    versions = versions_of(suite["name"])
    return cell_digest(subject, model, text, with_contents(suite), known, versions)


def cell_entry(
    subject: dict[str, Any],
    cell: dict[str, Any],
    reason: str,
    *,
    cached: bool = False,
    looks: dict[str, int] | None = None,
) -> dict[str, Any]:
    """What a study's record says about a cell.

    Args:
        subject: JSON form of the subject.
        cell: The suite, and the cell's id.
        reason: Why there is no result; empty where there is one.
        cached: Whether it was kept from before.
        looks: How often each sealed text that was measured on was looked at so far.
    """
    return {
        **subject,
        "suite": cell["suite"]["name"],
        "settings": cell["suite"]["settings"],
        "id": cell["id"],
        "status": "unavailable" if reason else "ok",
        "reason": reason,
        "cached": cached,
        "looks": looks or {},
    }


def look_of(subject: "Subject", cell: dict[str, Any]) -> str:
    """Name of the look that a cell takes at a sealed text; the same cell counts once."""
    what = f"{subject.scheme} {subject.ratio:g} {subject.policy}"
    return f"study {cell['id'][:16]} {what} {cell['suite']['name']}"


def with_contents(suite: dict[str, Any]) -> dict[str, Any]:
    """A suite with the digests of the files that its settings name: their text may change.

    Of a folder the task files in it count; a suite that names no file stays as it is.
    """
    from autoprune.digest import digest_file

    found: dict[str, str] = {}
    for value in suite["settings"].values():
        for name in value if isinstance(value, list | tuple) else [value]:
            path = Path(name).expanduser() if isinstance(name, str) and name else None
            if path is None:
                continue
            files = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
            found |= {str(file): digest_file(file) for file in files if file.is_file()}
    return {**suite, "files": found} if found else suite


def read_cell(folder: str, cell: str) -> list[dict[str, Any]]:
    """The rows of a kept cell."""
    record: dict[str, Any] = json.loads(cell_file(folder, cell).read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = record["rows"]
    return rows


def is_kept(folder: str, cell: str) -> bool:
    """Whether a cell was filled before; one without a figure may have lacked the network only."""
    return cell_file(folder, cell).is_file() and has_figure(read_cell(folder, cell))


def has_figure(rows: list[dict[str, Any]]) -> bool:
    """Whether anything was measured; a figure that is not finite is a result, too."""
    return any(row["status"] != "unavailable" for row in rows)


def study_folder(state: State, name: str) -> Path:
    """Where a study keeps its files."""
    return state.root / "studies" / name


def cell_file(folder: str, cell: str) -> Path:
    """Where a cell is kept."""
    return Path(folder) / "cells" / f"{cell}.json"
