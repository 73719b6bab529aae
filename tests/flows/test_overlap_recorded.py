"""A designer elsewhere under Prefect: its tasks are recorded, and run beside measurements."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "design"))
from chat_server import Answer, completion, obedient, serving

NOISE = ("Traceback", "prefect", "Prefect", "ERROR", "WARNING", "Warning", "httpx")


def answer(body: dict[str, Any]) -> Answer:
    length = sum(len(message["content"]) for message in body["messages"])
    if length < 400:
        return obedient(body)
    time.sleep(1.0)
    return completion(
        f"because: roots\nmetric: abs(W) * x_norm ** {{{0.3 + length % 97 / 97:.3f}}}"
    )


@pytest.fixture
def words(
    tiny_folder: Path, text_file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.delenv("AUTOPRUNE_PREFECT")
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    return f"""search --model {tiny_folder} --corpus {text_file} --designer openai --sandbox off
      --base-url http://designer.invalid/v1 --samples 4 --seqlen 48 --windows 4 --rung-windows 2
      --sealed-windows 3 --candidates 4 --slots 4 --no-register --run asked --json""".split()


def start(words: list[str], proxy: str) -> "subprocess.Popen[str]":
    """A command whose designer is behind a proxy, and so on no address of this machine."""
    apart = {"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": "127.0.0.1,localhost"}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | apart,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def task_runs(home: Path) -> list[tuple[str, str, str, str]]:
    """Name, state, start and end of every task run in Prefect's database."""
    connection = sqlite3.connect(home / "prefect" / "prefect.db")
    try:
        query = "SELECT name, state_type, start_time, end_time FROM task_run"
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_questions_are_task_runs_beside_others(words: list[str], home: Path) -> None:
    with serving(answer) as chat:
        process = start(words, chat.url.removesuffix("/v1"))
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert '"candidates": 4' in out
    assert not any(word in err for word in NOISE), err
    # Events of the last task runs are written behind the run.
    deadline = time.monotonic() + 20
    while any(state != "COMPLETED" for _, state, _, _ in task_runs(home)):
        assert time.monotonic() < deadline, task_runs(home)
        time.sleep(0.5)
    runs = task_runs(home)
    asked = [run for run in runs if run[0].startswith("propose")]
    measured = [run for run in runs if run[0].startswith("measure C")]
    assert asked and measured
    assert any(a[2] < m[3] and m[2] < a[3] for a in asked for m in measured), runs


def test_ctrl_c_waits_for_no_answer(words: list[str], home: Path) -> None:
    begun: list[float] = []

    def slow(body: dict[str, Any]) -> Answer:
        if sum(len(message["content"]) for message in body["messages"]) > 400:
            begun.append(time.monotonic())
            time.sleep(25)
        return obedient(body)

    with serving(slow) as chat:
        process = start(words, chat.url.removesuffix("/v1"))
        deadline = time.monotonic() + 200
        while not begun and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert begun, process.communicate(timeout=20)
        time.sleep(1.0)
        os.killpg(process.pid, signal.SIGINT)
        pressed = time.monotonic()
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - pressed < 15
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "next  autoprune resume asked"
    assert not any(word in err for word in NOISE), err
