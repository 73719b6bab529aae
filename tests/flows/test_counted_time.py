"""What a search's records take counts against its limit in time, and is not counted twice."""

import time
from typing import Any

import pytest

from autoprune.search.search import Search
from flows.search import driver
from flows.search.driver import Driver
from tasks.state import State
from tests.support.command_line import CommandLine
from tests.support.small_search import LINE

SLOW = 0.4


def test_time_between_two_steps_is_counted_once(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, began = Driver.mirror, time.monotonic()
    mirrored: list[str] = []

    def slow(self: Driver, status: str) -> Any:
        mirrored.append(status)
        time.sleep(SLOW)
        return mirror(self, status)

    monkeypatch.setattr(Driver, "mirror", slow)
    monkeypatch.setattr(driver, "MIRROR_SECONDS", 0.0)
    cli(f"{LINE} --designer random --candidates 2 --slots 2 --no-register-winner --run counted")
    took = time.monotonic() - began
    with Search.open(State.open().run("counted")) as found:
        spent = found.spent.seconds
    # The record of the last step comes after everything that counts, as do those of answers.
    running = mirrored.count("RUNNING")
    assert running > 8 and SLOW * (running - 4) < spent < took
