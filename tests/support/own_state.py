"""A state folder of the tests' own: without runs, and no address or key of anybody leads out."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CLIENTS = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "MLFLOW_TRACKING_URI", "PREFECT_API_URL")


def use_state(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have commands of this process use a state folder; flows run as plain functions."""
    patch.setenv("AUTOPRUNE_HOME", str(folder))
    patch.setenv("AUTOPRUNE_PREFECT", "off")
    for name in CLIENTS:
        patch.delenv(name, raising=False)


def new_state(folder: Path, store: Path, patch: pytest.MonkeyPatch) -> None:
    """Use a new folder."""
    folder.mkdir(exist_ok=True)
    shutil.copy(store, folder / store.name)
    use_state(folder, patch)


@contextmanager
def module_state(folder: Path, store: Path) -> Iterator[pytest.MonkeyPatch]:
    """A new folder for what several tests of a module look at, with a ledger in it."""
    with pytest.MonkeyPatch.context() as patch:
        new_state(folder, store, patch)
        patch.setenv("AUTOPRUNE_LEDGER", str(folder / "ledger.jsonl"))
        yield patch
