"""Threads wait asleep, and a run that others slow down says so."""

import threading
import time

import pytest
import torch

from flows import contention
from flows.contention import Contention, crowding, keep_threads
from flows.platform.environment import worker_environment


def test_a_line_only_where_others_take_what_this_run_wants() -> None:
    assert crowding(1.9, 0.1, 2) == "" and crowding(0.1, 1.9, 2) == ""
    # There is room for both.
    assert crowding(1.0, 1.0, 8) == ""
    shown = crowding(0.5, 1.5, 2)
    assert "75% of the processors' time (they take 1.5 of 2 and this run 0.5" in shown
    assert "25% of the time" in shown


def test_it_is_printed_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    # Time, seconds of this run, seconds of all: quiet, then half and half of two processors.
    taken = iter([(0.0, 0.0, 0.0), (5.0, 1.0, 2.0), (10.0, 9.0, 20.0), (30.0, 20.0, 40.0),
                  (70.0, 69.0, 140.0), (130.0, 188.0, 260.0), (700.0, 758.0, 1400.0)])  # fmt: skip
    monkeypatch.setattr(Contention, "_taken", lambda _: next(taken))
    monkeypatch.setattr(contention.os, "cpu_count", lambda: 2)
    found = Contention()
    # Soon after the start, then no more than a line in ten minutes, and none where it is alone.
    seen = [found.look() for _ in range(6)]
    assert [bool(line) for line in seen] == [False, True, False, False, False, True]
    assert seen[1].startswith("slowed by others: 55% of the processors' time")
    # 10 s at the start, the minute to 70 s and the last 570 s; not that from 70 to 130 s.
    assert found.to_json() == {
        "watched_seconds": 700.0, "slowed_seconds": 640.0, "others_share": 0.501,
    }  # fmt: skip
    alone = Contention.__new__(Contention)
    alone._slowed = 0.0
    assert alone.to_json() is None


def test_nothing_is_said_while_a_command_starts_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_SECONDS", "LOOK_SECONDS", "SAMPLE_SECONDS"):
        monkeypatch.setattr(contention, name, 0.01)
    monkeypatch.setattr(contention, "crowding", lambda *_: "slowed by others")
    said, begun = list[str](), threading.Event()
    spoken = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        spoken.set()

    with contention.watched(say, begun.is_set):
        time.sleep(0.5)
        assert not said and contention.slowed() is None
        begun.set()
        assert spoken.wait(60.0)
    assert said == ["slowed by others"]


def test_the_containers_of_a_run_are_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its processes use a tenth of two processors, its containers all the rest.
    taken = iter([(0.0, 0.0, [7], 0.0), (10.0, 2.0, [7, 8], 20.0)])
    monkeypatch.setattr(contention, "_taken", lambda: next(taken))
    used: list[list[int]] = []
    found = Contention()
    found._containers = lambda pids: used.append(list(pids)) or 18.0
    assert found.look() == "" and used == [[7, 8]] and found.to_json() is None


def test_only_a_run_with_containers_is_looked_at_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Contention, "_taken", lambda _: (0.0, 0.0, 0.0))
    found = Contention()
    monkeypatch.setattr(contention, "_uses_sandbox", lambda: False)
    assert found.pause == contention.FIRST_SECONDS
    monkeypatch.setattr(contention, "_uses_sandbox", lambda: True)
    assert found.pause == contention.SAMPLE_SECONDS


def test_a_resumed_run_computes_with_the_threads_that_it_began_with() -> None:
    lines: list[str] = []
    usual = torch.get_num_threads()
    try:
        assert keep_threads(None, lines.append) == keep_threads(usual, lines.append) == usual
        assert lines == []
        assert keep_threads(usual + 1, lines.append) == torch.get_num_threads() == usual + 1
        (line,) = lines
        assert f"with {usual + 1} threads, as when it began, and not with {usual}" in line
    finally:
        torch.set_num_threads(usual)


def test_workers_sleep_where_they_wait_and_the_users_word_stays() -> None:
    assert worker_environment({})["OMP_WAIT_POLICY"] == "PASSIVE"
    assert worker_environment({"OMP_WAIT_POLICY": "ACTIVE"})["OMP_WAIT_POLICY"] == "ACTIVE"
