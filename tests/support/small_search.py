"""Sizes of a search of seconds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoprune.search.search import Search
from autoprune.search.steps import Measure
from flows.search.params import SearchParams
from tasks import steps
from tasks.state import State

SIZES: dict[str, Any] = {
    "calibration_windows": 4,
    "seqlen": 48,
    "rung_windows": 2,
    "selection_windows": 4,
    "sealed_windows": 3,
}
# The same sizes as a command, which needs a designer.
LINE = (
    "search MODEL --corpus TEXT --sandbox off --calibration-windows 4 --seqlen 48"
    " --rung-windows 2 --selection-windows 4 --sealed-windows 3 -q"
)
# Half as many starts, where none of those left out has a part in what is tested.
FEW = "--pattern 2:4 --repairs none"
ANSWERS = [
    "because: roots\nexpect: better than wanda\nmetric: abs(W) * x_norm ** {a:0.5}\ngroup: row\n"
    "allocation: ramp\n",
    "because: squares\nexpect: worse than wanda\nmetric: sq(W) * x_max\ngroup: matrix\n"
    "allocation: uniform\n",
    "because: this answer holds no metric",
]


def small(model: Path, text: Path, **changes: Any) -> SearchParams:
    """Parameters of a search of these sizes that asks no language model and no container."""
    places: dict[str, Any] = {"model": str(model), "corpus": str(text)}
    return SearchParams(**(SIZES | places | {"designer": "random", "sandbox": "off"} | changes))


def interrupt(
    monkeypatch: pytest.MonkeyPatch,
    number: int = 1,
    what: Callable[[Measure], bool] = lambda wanted: True,
) -> None:
    """Press Ctrl-C as searches of this process begin a measurement; only once."""
    measure, begun = steps.WORK["measure"], [0]

    def interrupted(bench: Any, wanted: Measure, *rest: Any) -> Any:
        if what(wanted):
            begun[0] += 1
            if begun[0] == number:
                raise KeyboardInterrupt
        return measure(bench, wanted, *rest)

    monkeypatch.setitem(steps.WORK, "measure", interrupted)


def script(folder: Path, answers: list[str]) -> str:
    """A file of a designer that gives these answers."""
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return str(path)


def graph(run: str) -> str:
    """Digest of a run's reasoning graph: all figures are in it."""
    with Search.open(State.open().run(run)) as found:
        return found.graph.digest
