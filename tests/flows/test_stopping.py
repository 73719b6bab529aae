"""However a search stops, the last line is the command that goes on with it, and it does."""

import errno
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from autoprune.search.search import Search
from flows import engine
from sandbox.errors import SandboxBrokenError
from tasks import run_record, steps
from tasks.state import State
from tests.support import small_search
from tests.support.command_line import CommandLine

NEXT = "next  autoprune resume halted"


WORDS = (
    f"{small_search.LINE} --designer random --candidates 2 --slots 2 --no-register-winner"
    " --run halted"
)


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


def test_however_it_stops_the_last_line_goes_on(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = steps.WORK["measure"]
    line, known = WORDS, 0
    for stop, code, part in WAYS.values():
        begun: list[Any] = []

        def stopped(*args: Any, stop: Callable[[], None] = stop, begun: list[Any] = begun) -> Any:
            begun.append(args)
            if len(begun) == 2:
                stop()
            return measure(*args)

        monkeypatch.setitem(steps.WORK, "measure", stopped)
        shown = cli(line, code=code).err
        assert part in shown and shown.splitlines()[-1] == NEXT
        with Search.open(State.open().run("halted")) as found:
            assert len(found.history()) > known
            known = len(found.history())
        line = "resume halted -q"
    monkeypatch.setitem(steps.WORK, "measure", measure)
    cli(line)


def test_a_disk_that_takes_no_last_record_hides_nothing(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise FULL

    monkeypatch.setattr(run_record, "write_json", full)
    shown = cli(f"{WORDS} --json", code=1)
    assert "No space left on device" in shown.err and shown.err.splitlines()[-1] == NEXT
    assert shown.record["next"] == "autoprune resume halted"


def test_what_was_asked_for_wrongly_is_not_gone_on_with(cli: CommandLine) -> None:
    assert "autoprune resume" not in cli(f"{WORDS} --repairs no-such-solver", code=2).err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_comes_while_a_destructor_runs_is_not_lost(number: signal.Signals) -> None:
    class Closing:
        def __del__(self) -> None:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with engine._interruptible(), pytest.raises(KeyboardInterrupt):
        Closing()
        time.sleep(30)
    assert signal.getsignal(number) == before
