"""A designer elsewhere under Prefect: its tasks are recorded, and run beside measurements."""

import os
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.chat_server import Answer, ChatServer, formula_for, length_of, obedient, serving
from tests.support.command_line import CommandLine
from tests.support.prefect_stack import until
from tests.support.small_search import FEW, LINE
from tests.support.started_command import NOISE, prefect_rows, record_by_prefect, start

ASKED = (
    "--designer openai --arm whole --base-url http://designer.invalid/v1 --candidates 4 --slots 4"
)
COMMAND = f"{LINE} {FEW} {ASKED} --no-register-winner --run asked --json".replace(" -q", "")


@pytest.fixture(autouse=True)
def recorded(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_by_prefect(monkeypatch)


def behind(chat: ChatServer) -> dict[str, str]:
    """Puts the designer behind a proxy, and so on no address of this machine."""
    proxy = chat.url.removesuffix("/v1")
    return {"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": "127.0.0.1,localhost"}


def task_runs(home: Path) -> list[tuple[str, ...]]:
    """Name, state, start and end of every task run."""
    return prefect_rows(home, "SELECT name, state_type, start_time, end_time FROM task_run")


def test_questions_are_task_runs_beside_others(
    cli: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking: list[float] = []

    def one_is_measured() -> bool:
        try:
            return any(name.startswith("measure C") for name, *_ in task_runs(home))
        except sqlite3.OperationalError:
            return False

    def answer(body: dict[str, Any]) -> Answer:
        if length_of(body) < 400:
            return obedient(body)
        asking.append(time.monotonic())
        if len(asking) > 1:
            # The others come once a candidate was measured beside them.
            until(one_is_measured, 200, "measurement beside a question")
        return formula_for(body)

    with serving(answer) as chat:
        for name, value in behind(chat).items():
            monkeypatch.setenv(name, value)
        printed = cli(COMMAND)
    assert printed.record["spent"]["candidates"] == 4
    assert not any(word in printed.err for word in NOISE), printed.err
    # Events of the last task runs are written behind the run.
    completed = ("COMPLETED",)
    until(lambda: {run[1:2] for run in task_runs(home)} == {completed}, 60, "last records")
    runs = task_runs(home)
    asked = [run for run in runs if run[0].startswith("propose")]
    measured = [run for run in runs if run[0].startswith("measure C")]
    assert asked and measured
    assert any(a[2] < m[3] and m[2] < a[3] for a in asked for m in measured), runs


def test_ctrl_c_waits_for_no_answer(cli: CommandLine) -> None:
    begun, ended = threading.Event(), threading.Event()

    def never(body: dict[str, Any]) -> Answer:
        if length_of(body) > 400:
            begun.set()
            ended.wait(400)
        return obedient(body)

    with serving(never) as chat:
        process = start(cli.words(COMMAND), behind(chat))
        until(lambda: begun.is_set() or process.poll() is not None, 200, "question")
        os.killpg(process.pid, signal.SIGINT)
        try:
            _, err = process.communicate(timeout=200)
        finally:
            ended.set()
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "next  autoprune resume asked"
    assert not any(word in err for word in NOISE), err
