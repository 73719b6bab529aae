"""Lists and deletes the runs of this folder, and frees wasted disk space."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.digest import digest_file
from autoprune.errors import AutopruneError, UsageError
from autoprune.storage import read_object, share_file
from flows.search.runs import at_work, find_run
from tasks.in_use import caches_are_read
from tasks.kept_splits import forget_runs
from tasks.run_files import RunFiles
from tasks.state import State

# Status of a search whose folder is there and whose log is not.
NOT_BEGUN = "not begun"
# Smaller files are not worth comparing.
LEAST_BYTES = 1 << 20
LEFT_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Room:
    """Disk space that can be freed.

    Args:
        what: Description for people.
        bytes: How much is freed.
        path: The file or folder.
        same: The file that it duplicates; None: it is deleted.
    """

    what: str
    bytes: int
    path: Path
    same: Path | None = None


def runs_listing(state: State) -> list[dict[str, Any]]:
    """Return every search of this folder, latest first."""
    return [_run(state, run) for run in state.run_ids()]


def remove_runs(state: State, names: list[str]) -> list[dict[str, Any]]:
    """Delete searches with their log, report and winner; the registry's copies stay."""
    names = list(dict.fromkeys(names))
    known = state.run_ids()
    for name in names:
        # A folder left by a killed start has no log yet and may be deleted too.
        if name not in known:
            find_run(state, name)
        if at_work(state, name):
            raise AutopruneError(
                f"the search {name!r} is being worked on by another process; stop it, or wait "
                "until it has ended, then delete it"
            )
    gone = [_run(state, name) for name in names]
    for name in names:
        shutil.rmtree(state.run(name))
    forget_runs(state, names)
    return gone


def garbage(state: State) -> list[Room]:
    """Find what can be deleted: copies, what killed commands left, and caches."""
    if caches_are_read(state) or any(at_work(state, run) for run in state.run_ids()):
        raise UsageError("a run is at work and reads the caches; wait for it")
    found = [*_copies(state), *_left(state)]
    names = {
        state.store: "windows and statistics",
        state.inputs: "layer files of the sandbox",
        state.registry: "models of the MLflow server",
        state.root / "shared": "local copies of a shared store",
    }
    for folder, what in names.items():
        size = folder_bytes(folder)
        if size:
            found.append(Room(f"{what}, made again when needed", size, folder))
    return found


def collect(found: list[Room]) -> int:
    """Free the space and return the number of bytes freed."""
    freed = 0
    for room in found:
        if room.same is None:
            shutil.rmtree(room.path, ignore_errors=True)
            freed += room.bytes - folder_bytes(room.path)
        else:
            share_file(room.same, room.path)
            # Not every file system can share; then the copy is still there.
            freed += room.bytes if room.path.samefile(room.same) else 0
    return freed


def folder_bytes(folder: Path) -> int:
    """Return the bytes on disk below a folder; a file with several names there counts once."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        try:
            known = path.lstat()
        except OSError:
            continue
        seen[known.st_dev, known.st_ino] = known.st_blocks * 512
    return sum(seen.values())


def _run(state: State, run: str) -> dict[str, Any]:
    files = RunFiles.of(state, run)
    report = read_object(files.report) if files.report.exists() else {}
    entries = report.get("entries", [])
    best: dict[str, Any] = next(
        (entry for entry in entries if entry.get("verdict") == "winner"), {}
    )
    ended = str(report.get("ended", ""))
    over = bool(ended) and not ended.startswith("still running")
    status = "at work" if at_work(state, run) else "done" if over else "unfinished"
    if not files.log.exists():
        status = NOT_BEGUN
    return {
        "run": run,
        "status": status,
        "model": report.get("model", ""),
        "sparsity": report.get("sparsity"),
        "goal": report.get("goal", ""),
        "created": report.get("created", ""),
        "candidates": sum(entry.get("kind") == "candidate" for entry in entries),
        "best": best.get("alias"),
        "perplexity": best.get("perplexity"),
        "bytes": folder_bytes(files.folder),
    }


def _left(state: State) -> Iterator[Room]:
    """Yield models that killed commands left while they sent or compared them."""
    for folder in sorted([*state.root.glob("upload/*"), *state.root.glob("reproduce-*")]):
        # Whether a command still writes there is not known; none takes a day.
        if time.time() - folder.stat().st_mtime > LEFT_SECONDS:
            yield Room("left by a killed command", folder_bytes(folder), folder)


def _copies(state: State) -> Iterator[Room]:
    """Yield weight files in MLflow's folder that duplicate a run's winner byte for byte."""
    kept: dict[int, list[Path]] = {}
    for run in state.run_ids():
        for path in sorted(RunFiles.of(state, run).winner.glob("*.safetensors")):
            kept.setdefault(path.stat().st_size, []).append(path)
    for path in sorted(state.artifacts.rglob("*.safetensors")):
        size = path.stat().st_size
        if size < LEAST_BYTES or path.is_symlink():
            continue
        for mine in kept.get(size, ()):
            if mine.samefile(path):
                break
            if digest_file(mine) == digest_file(path):
                run = mine.parent.parent.name
                yield Room(f"copy of the winner of {run} in MLflow's folder", size, path, mine)
                break
