"""However a search stops, the last line is the command that goes on with it, and it does."""

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoprune.search.search import Search
from flows.cli import main
from sandbox.errors import SandboxBrokenError
from tasks import run_record, steps
from tasks.state import State

NEXT = "next  autoprune resume halted"


@pytest.fixture
def words(tiny_folder: Path, text_file: Path, home: Path) -> list[str]:
    return f"""search --model {tiny_folder} --corpus {text_file} --designer random --sandbox off
      --calibration-windows 4 --seqlen 48 --selection-windows 4 --rung-windows 2
      --sealed-windows 3 --candidates 2
      --slots 2 --no-register-winner -q --run halted""".split()


def by_signal(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def by_error(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "report.json")
WAYS = {
    "Ctrl-C": (by_signal(signal.SIGINT), 130, "interrupted"),
    "time out": (by_signal(signal.SIGTERM), 130, "interrupted"),
    "a broken sandbox": (
        by_error(SandboxBrokenError("the daemon is gone")),
        1,
        "the daemon is gone",
    ),
    "a full disk": (by_error(FULL), 1, "No space left on device"),
    "a fault of ours": (by_error(KeyError("x")), 1, "unexpected KeyError"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_last_line_goes_on(
    way: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop, code, part = WAYS[way]
    measure, done = steps.WORK["measure"], []

    def stopped(*args: Any) -> Any:
        done.append(args)
        if len(done) == 2:
            stop()
        return measure(*args)

    monkeypatch.setitem(steps.WORK, "measure", stopped)
    assert main(words) == code
    said = capsys.readouterr().err
    assert part in said and said.splitlines()[-1] == NEXT
    with Search.open(State.open().run("halted")) as found:
        before = len(found.history())
    assert before and main(["resume", "halted", "-q"]) == 0
    assert len(done) > 2


def test_a_disk_that_takes_no_last_record_hides_nothing(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise FULL

    monkeypatch.setattr(run_record, "write_json", full)
    assert main([*words, "--json"]) == 1
    said = capsys.readouterr()
    assert "No space left on device" in said.err and said.err.splitlines()[-1] == NEXT
    assert json.loads(said.out)["next"] == "autoprune resume halted"


def test_what_was_asked_for_wrongly_is_not_gone_on_with(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--repairs", "no-such-solver"]) == 2
    assert "autoprune resume" not in capsys.readouterr().err
