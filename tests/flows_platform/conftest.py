"""A real platform on free ports with a state folder of its own; started once, by the command."""

import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from flows.platform.ports import free_port
from flows.platform.processes import register_of
from tests.support.platform_live import (
    AUTOPRUNE,
    MARKER,
    START_SECONDS,
    STOP_SECONDS,
    Live,
    make_hostile,
)
from tests.support.tiny_subject import invented_documents, save_subject, tiny_subject

# What a user's shell may hold; see test_login.py.
KEYS = {
    "OPENAI_API_KEY": "sk-of-the-designer",
    "SOME_OTHER_TOKEN": "of-another-program",
    "STORE_LOGIN": "name:word",
    "AUTOPRUNE_WORKER_ENV": "STORE_LOGIN",
}


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The platform, stopped by Ctrl-C at the end; nothing may be left."""
    folder = tmp_path_factory.mktemp("platform")
    # Servers are started in the second.
    for place in (folder, folder / "state" / "platform"):
        place.mkdir(parents=True, exist_ok=True)
        make_hostile(place)
    found = Live(folder, free_port(), free_port(), None)  # type: ignore[arg-type]
    words = ("up", "--prefect-port", str(found.prefect), "--mlflow-port", str(found.mlflow))
    log = folder / "up.log"
    with log.open("wb") as stream:
        found.process = subprocess.Popen(
            [*AUTOPRUNE, *words],
            cwd=folder,
            env=found.environment(**KEYS),
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while "next  " not in log.read_text():
            assert found.process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        with closing(sqlite3.connect(folder / "state" / "mlflow.db")) as store:
            experiments = [name for (name,) in store.execute("select name from experiments")]
        # None is made for a model that nobody has pruned.
        assert experiments == ["Default"]
        yield found
        family = psutil.Process(found.process.pid).children(recursive=True)
        assert len(family) >= 3
        found.process.send_signal(signal.SIGINT)
        assert found.process.wait(STOP_SECONDS) == 0, log.read_text()
        assert not [member for member in family if member.is_running()]
        assert not (folder / "state/platform/services.json").exists()
        for place in (folder, folder / "state" / "platform"):
            assert not (place / MARKER).exists(), (place / MARKER).read_text()
    finally:
        subprocess.run(
            [*AUTOPRUNE, "down"],
            cwd=folder,
            env=found.environment(),
            capture_output=True,
            check=False,
        )
        if found.process.poll() is None:
            found.process.kill()


@pytest.fixture(scope="session")
def again(live: Live) -> "subprocess.CompletedProcess[str]":
    """The same ``up`` once more, which changes nothing."""
    before = register_of(live.state).read()
    done = live.up("--runs", "7")
    assert done.returncode == 0, done.stderr
    assert register_of(live.state).read() == before
    return done


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-block Llama over bytes, with sixty documents of invented words."""
    folder = save_subject(tiny_subject(), tmp_path_factory.mktemp("models") / "tiny")
    (folder / "text.txt").write_text(invented_documents(), encoding="utf-8")
    return folder
