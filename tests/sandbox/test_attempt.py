"""Runs follow one another, each in its own container; the first is gone before the next."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sandbox.attempt import attempt
from sandbox.codes import Code
from sandbox.container import ContainerLostError, Ended, LayerInput, Order
from sandbox.engine import ContainerState
from sandbox.readout import Readout
from sandbox.verdicts import Scores

RAMP = np.arange(600, dtype=np.float32)


class Cells:
    """Stands in for the pool and for the containers in it; writes down what is asked of them."""

    def __init__(self, *, second: Scores = RAMP, oom: bool = False, lost: bool = False) -> None:
        self.events: list[str] = []
        self._second, self._oom, self._lost = second, oom, lost
        self._taken = 0

    def take(self) -> "Cells.One":
        self._taken += 1
        self.events.append(f"take {self._taken}")
        return Cells.One(self, self._taken)

    def discard(self, cell: "Cells.One") -> None:
        self.events.append(f"discard {cell.number}")

    class One:
        def __init__(self, cells: "Cells", number: int) -> None:
            self._cells, self.number = cells, number

        def run(self, order: Order, run: int) -> Ended:
            self._cells.events.append(f"run {run} in {self.number}")
            if self._cells._lost:
                raise ContainerLostError("ended", "gone")
            return Ended("ok", "", "")

        def state(self) -> ContainerState:
            return ContainerState(present=True, oom=self._cells._oom)

        def take_scores(self, count: int, *, keep: bool = False) -> Scores:
            assert count == 600 and not keep
            return RAMP if self.number == 1 else self._cells._second

        def end(self) -> None:
            self._cells.events.append(f"end {self.number}")


def order(runs: int) -> Order:
    layers = [LayerInput(Path("layer"), (20, 30))]
    return Order("", {}, layers, ((0,),) * runs, False, 1.0)


@pytest.mark.parametrize("equal", [True, False])
def test_the_first_container_is_gone_before_the_second_gets_its_job(equal: bool) -> None:
    cells = Cells(second=RAMP if equal else RAMP[::-1].copy())
    tried = attempt(cells, order(2), 16)  # type: ignore[arg-type]
    assert cells.events == [
        "take 1", "run 0 in 1", "end 1", "discard 1", "take 2", "run 1 in 2", "discard 2",
    ]  # fmt: skip
    assert tried.runs is not None
    assert (tried.failure and tried.failure[0]) == (None if equal else Code.NONDETERMINISTIC)


def test_one_run_needs_one_container() -> None:
    cells = Cells()
    assert attempt(cells, order(1), 16).failure is None  # type: ignore[arg-type]
    assert cells.events == ["take 1", "run 0 in 1", "discard 1"]


@pytest.mark.parametrize("contract", [True, False])
def test_only_the_probe_must_be_ranked(contract: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead layer of a model has nothing to rank, and any metric is constant there."""
    monkeypatch.setattr("sandbox.readout.SHAPES", ((20, 30),))
    asked = replace(order(1), contract=contract)
    found = Readout(asked, [np.zeros(600, np.float32)], 16).failure()
    assert (found and found[0]) == (Code.CONSTANT_SCORES if contract else None)


@pytest.mark.parametrize("what", ["oom", "lost"])
def test_nothing_is_run_again_after_a_failure(what: str) -> None:
    cells = Cells(**{what: True})  # type: ignore[arg-type]
    tried = attempt(cells, order(2), 16)  # type: ignore[arg-type]
    assert cells.events == ["take 1", "run 0 in 1", "discard 1"]
    assert tried.runs is None
    assert tried.oom == (what == "oom")
    assert (tried.lost is not None) == (what == "lost")
