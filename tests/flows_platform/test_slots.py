"""A command that is killed while it holds its machine's slot blocks nobody after it."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from flows.doctor.health import platform_findings
from flows.platform.api_server import ApiServer
from flows.up.provisioning import client_of, prepare_server
from tasks.slots import local_slots, notes, unheld
from tasks.state import State
from tasks.turns import machine_limit
from tests.support.command_line import CommandLine
from tests.support.held import hold
from tests.support.made_once import made_once
from tests.support.prefect_stack import until

WAIT_SECONDS = 120.0


@pytest.fixture(scope="session")
def limited(
    tmp_path_factory: pytest.TempPathFactory, prefect_template: Path, empty_store: Path
) -> Path:
    """A state folder in which ``up`` has made the limits and ``down`` has ended the servers."""

    def make(folder: Path) -> None:
        found = State.open(folder)
        found.prefect.mkdir()
        shutil.copy(prefect_template, found.prefect / "prefect.db")
        shutil.copy(empty_store, found.tracking_database)
        server = ApiServer(found)
        try:
            assert server.wait()
            prepare_server(server.url, login=server.login)
        finally:
            server.stop()

    with pytest.MonkeyPatch.context() as patch:
        for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
            patch.delenv(name, raising=False)
        return made_once(tmp_path_factory, "limited-template", make)


@pytest.fixture
def state(tmp_path: Path, limited: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """A copy of that folder."""
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AUTOPRUNE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("AUTOPRUNE_PREFECT", "on")
    shutil.copytree(limited, tmp_path / "state")
    return State.open()


@pytest.fixture
def cli(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(
        capsys, MODEL=tiny_folder, TEXT=tiny_folder / "text.txt", OUT=tmp_path / "pruned"
    )


LINE = "prune MODEL --corpus TEXT --calibration-windows 16 --seqlen 48 --out OUT --metric"


def active(state: State) -> int:
    (found,) = [slots for slots in local_slots(state) if slots.name == machine_limit()]
    return found.active


def lost(state: State) -> list[str]:
    return [each.detail for each in platform_findings(state) if each.name == "lost slots"]


def servers_of(pid: int) -> list[psutil.Process]:
    """Private servers of a command: each has its process as the last word."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "flows.platform.api_process" in words and words[-1] == str(pid):
            found.append(process)
    return found


def test_a_killed_command_gives_its_slot_to_the_next(
    state: State, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = hold(tmp_path / "held", monkeypatch)
    first = subprocess.Popen(
        [sys.executable, "-P", "-m", "flows.cli", *cli.words(f"{LINE} held")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | held.environment,
    )
    until(lambda: held.reached or first.poll() is not None, WAIT_SECONDS, "held command")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert [note.pid for note in notes(state)] == [first.pid] and active(state) == 1
    assert lost(state) == [f"held by runs that were killed: {machine_limit()} 1 of 1"]
    # Its private server, too, is gone: whatever that kept in memory is lost.
    until(lambda: not servers_of(first.pid), WAIT_SECONDS, "end of its server")
    shown = cli(f"{LINE} wanda").err
    assert active(state) == 0 and not notes(state) and not lost(state)
    # The next command also says of the killed run that it is over, and of its tasks.
    assert "marked as crashed, their processes are gone: prune-" in shown
    with closing(sqlite3.connect(state.prefect / "prefect.db")) as database:
        runs = database.execute("SELECT state_type FROM flow_run").fetchall()
        ((page,),) = database.execute("SELECT data FROM artifact WHERE key LIKE 'prune-report-%'")
        tasks = database.execute("SELECT DISTINCT state_type FROM task_run").fetchall()
    assert "prunable weights are zero" in page and "data:image/png;base64" in page
    assert sorted(runs) == [("COMPLETED",), ("CRASHED",)] and ("RUNNING",) not in tasks


def test_a_slot_whose_lease_is_lost_is_waited_for_aloud_and_given_back(
    state: State, cli: CommandLine
) -> None:
    with closing(sqlite3.connect(state.prefect / "prefect.db")) as database, database:
        database.execute(
            "UPDATE concurrency_limit_v2 SET active_slots = 1 WHERE name = ?", (machine_limit(),)
        )
    assert lost(state)
    shown = cli(f"{LINE} wanda").err
    assert f"waiting: another run holds the slot of the limit '{machine_limit()}'" in shown
    assert f"a slot of the limit '{machine_limit()}' is free again" in shown
    assert active(state) == 0 and not lost(state)


def test_a_slot_of_a_living_process_or_another_project_stays_taken(state: State) -> None:
    from tasks.turns import free_unheld

    server = ApiServer(state)
    try:
        assert server.wait()
        with client_of(server.url, server.login) as client:
            answer = client.increment_concurrency_slots_with_lease(
                [machine_limit()], 1, "concurrency", 60.0
            )
            # Another project leaves no note here, only its lease.
            assert not notes(state) and active(state) == 1
            assert free_unheld(state, client, machine_limit()) == 0
            client.release_concurrency_slots_with_lease(answer.json()["lease_id"])
            assert active(state) == 0
            client.increment_concurrency_slots([machine_limit()], 1, "concurrency")
            (slots,) = [each for each in local_slots(state) if each.name == machine_limit()]
            assert unheld(state, slots) == 1
            assert free_unheld(state, client, machine_limit()) == 1 and active(state) == 0
    finally:
        server.stop()
