"""Commands with Prefect's record: states in its database, nothing of it on the screen."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.state import model_slug
from tests.support import started_command
from tests.support.command_line import CommandLine
from tests.support.held import hold
from tests.support.prefect_stack import until
from tests.support.small_search import FEW, LINE
from tests.support.started_command import NOISE, prefect_rows, record_by_prefect

Command = Callable[..., "subprocess.Popen[str]"]


EVALUATE = "evaluate MODEL --corpus TEXT --measured-windows 3 --seqlen 32"


@pytest.fixture
def start(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Start a command of its own session, as a terminal does."""
    record_by_prefect(monkeypatch)
    return lambda line, **more: started_command.start(cli.words(line), more)


def recorded(home: Path, table: str) -> list[tuple[str, ...]]:
    """Name and state of every run."""
    return prefect_rows(home, f"SELECT name, state_type FROM {table}")


def servers_of(home: Path) -> list[str]:
    """Processes that serve the private API of this state folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if "flows.platform.api_process" in command and str(home) in (
                (process / "environ").read_bytes().decode(errors="replace")
            ):
                found.append(command)
        except OSError:
            continue
    return found


def test_a_flow_and_its_tasks_are_recorded(
    start: Command, tiny_folder: Path, migrated: Path
) -> None:
    home = migrated
    process = start(EVALUATE)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert out.startswith("perplexity")
    assert not any(word in err for word in NOISE), err
    # The run's page shows its figures, a picture, and where all of it lies.
    shown = dict(prefect_rows(home, "SELECT key, data FROM artifact"))
    assert {"evaluate-figures-tiny", "evaluate-report-tiny"} <= shown.keys()
    assert '"perplexity' in shown["evaluate-figures-tiny"].replace("\\", "")
    page = shown["evaluate-report-tiny"]
    assert "data:image/png;base64" in page and "Record and rows: `" in page
    assert str(home) not in page
    ((name, state),) = recorded(home, "flow_run")
    assert name == f"evaluate-{model_slug(str(tiny_folder))}" and "/" not in name
    assert state == "COMPLETED"
    tasks = dict(recorded(home, "task_run"))
    assert set(tasks.values()) == {"COMPLETED"}
    assert {f"lm of {tiny_folder.name}", f"load {tiny_folder.name}"} <= set(tasks)
    assert not [name for name in tasks if str(tiny_folder.parent) in name]
    assert servers_of(home) == []


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_named_command_goes_on(
    start: Command, cli: CommandLine, migrated: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    home = migrated
    # More layers than its validation scores: its measurement is held, the last of the starts.
    held = hold(tmp_path / "held", monkeypatch, free=14)
    asked = "--designer random --candidates 1 --seed 5 --starts held --no-register-winner --run cut"
    line = f"{LINE} {FEW} {asked}"
    process = start(line.replace(" -q", ""), **held.environment)
    until(lambda: held.reached or process.poll() is not None, 200, "start that is held")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert out == "" and "Traceback" not in err
    assert err.strip().splitlines()[-1] == "next  autoprune resume cut"
    ((_, state),) = recorded(home, "flow_run")
    assert state == "CRASHED"
    # The page of a broken run says how to go on with one stage of it.
    shown = dict(prefect_rows(home, "SELECT key, data FROM artifact"))
    (stages,) = (data for key, data in shown.items() if key.startswith("search-stages-"))
    assert "autoprune resume cut --until measure" in stages and "resume/manual" in stages
    assert servers_of(home) == []

    out = cli("resume cut").out
    assert "winner" in out or "accepted" in out
    runs = [name for name, _ in recorded(home, "task_run")]
    again = Counter(name for name in runs if name.startswith(("measure magnitude", "measure held")))
    assert sorted(again.values()) == [1, 2], "measured again what was on record"
    names = set(runs)
    assert {"prepare cut", "calibrate cut", "dense perplexity on selection", "mirror cut"} <= names
    # What is written after every step stays off the page; at a cut and at the end it is there.
    assert runs.count("mirror cut") <= 2
    assert "cut opens the sealed text" in names
    assert {"validate", "measure", "seal", "keep"} <= {name.split()[0] for name in names}


def test_a_prefect_server_that_is_down_stops_nothing(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_by_prefect(monkeypatch)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    printed = cli(EVALUATE)
    assert "no Prefect API answers at http://127.0.0.1:9/api" in printed.err
    assert printed.out.startswith("perplexity")
