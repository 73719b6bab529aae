"""Shared test set-up: quiet libraries, no network, one thread for tiny models."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# Asserts of what tests share say as much as those of a test.
pytest.register_assert_rewrite("tests.support")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
# The usual 20 s are too few where all cores are taken.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Nothing that a test starts may write the ledger of sealed looks of whoever runs the tests.
_STATE = tempfile.mkdtemp(prefix="autoprune-tests-")
os.environ["XDG_STATE_HOME"] = _STATE
os.environ["AUTOPRUNE_LEDGER"] = str(Path(_STATE) / "session.jsonl")
# A shell that starts the tests in the background has them ignore Ctrl-C, which some of them press.
signal.signal(signal.SIGINT, signal.default_int_handler)


# A platform takes long to start, so one process does all tests that need one.
TOGETHER = "tests/flows_platform/"
# What takes longest is begun first, so that the processes end together.
FIRST = (TOGETHER, "tests/sandbox/test_attacks.py")


def pytest_unconfigure() -> None:
    """Remove the state folder of this process."""
    shutil.rmtree(_STATE, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Import all tests without garbage collections, which later skip what was imported."""
    gc.disable()
    try:
        with first_alone(session.config):
            return (yield)
    finally:
        # Its plugins warn where they see no reference to an object, and a frozen one they do not.
        import hypothesis  # noqa: F401

        gc.freeze()
        gc.enable()


@contextmanager
def first_alone(config: pytest.Config) -> Iterator[None]:
    """In a new checkout, let one of several processes compile what all of them import.

    Side by side they would all compile the same modules, while the linters wait for a processor.
    """
    # Written at the end of a run.
    known = (config.rootpath / ".pytest_cache").exists()
    if known or "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    # Each process has a folder of its own in that of the run.
    run = Path(config.option.basetemp).parent
    with FileLock(run / "collecting.lock"):
        if not (run / "collected").exists():
            yield
            (run / "collected").touch()
            return
    yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files go to processes whole, those of :data:`TOGETHER` to one."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER if nodeid.startswith(TOGETHER) else super()._split_scope(nodeid)

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In several processes: :data:`FIRST`, files with real models or containers, then the rest."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    slow = {item.path for item in items if {"slow", "demo", "docker"} & set(item.keywords)}

    def place(item: pytest.Item) -> int:
        first = [item.nodeid.startswith(name) for name in FIRST]
        return first.index(True) if any(first) else len(FIRST) + (item.path not in slow)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What a test leaves in the environment ends with it."""
    before = dict(os.environ)
    yield
    if before != dict(os.environ):
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def ledger(environment: None, ledgers: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of sealed looks of the test's own."""
    path = next(ledgers)
    path.parent.mkdir()
    monkeypatch.setenv("AUTOPRUNE_LEDGER", str(path))
    return path


@pytest.fixture(scope="session")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Places of ledgers; pytest would look through all folders of the run for each of them."""
    folder = tmp_path_factory.mktemp("ledgers")
    return (folder / str(number) / "sealed-looks.jsonl" for number in count())


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-block Llama over bytes, saved as transformers saves it."""
    # After the line that has asserts of that package rewritten.
    from tests.support.tiny_subject import save_subject, tiny_subject

    return save_subject(tiny_subject(), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty documents of invented words, enough for three parts."""
    from tests.support.tiny_subject import invented_documents

    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(invented_documents(), encoding="utf-8")
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Path:
    """A state folder without runs; flows run as plain functions, no endpoint is set."""
    from tests.support.own_state import new_state

    folder = tmp_path / "state"
    new_state(folder, empty_store, monkeypatch)
    return folder


@pytest.fixture(scope="session")
def prefect_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database of Prefect, to be copied; a server takes longer to make one."""
    from tests.support.made_once import made_once, migrate_prefect

    return made_once(tmp_path_factory, "prefect-template", migrate_prefect) / "prefect.db"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database of MLflow, to be copied."""
    from tasks.state import State
    from tasks.track import Tracker
    from tests.support.made_once import made_once

    def make(folder: Path) -> None:
        # MLflow names its store in the environment: one that a test before this left must not be
        # used, nor this one by what later tests start. Only what was set here first is undone.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", "none")
            patch.delenv("MLFLOW_TRACKING_URI")
            Tracker(State.open(folder)).client.search_experiments()

    return State.open(made_once(tmp_path_factory, "mlflow-template", make)).tracking_database
