"""What takes seconds to make and nothing to copy, made by one process of a test run for all."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first process to ask fills and the others of this run read."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Each process has a folder of its own in that of the run.
        base = base.parent
    folder, whole = base / name, base / f"{name}.whole"
    with FileLock(base / f"{name}.lock"):
        if not whole.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            whole.touch()
    return folder


def migrate_prefect(folder: Path) -> None:
    """Make an empty database of Prefect there, as its server does when it first starts."""
    plain = {name: word for name, word in os.environ.items() if not name.startswith("PREFECT_")}
    subprocess.run(
        [sys.executable, "-P", "-m", "prefect", "server", "database", "upgrade", "-y"],
        env=plain | {"PREFECT_HOME": str(folder), "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL"},
        capture_output=True,
        check=True,
    )
