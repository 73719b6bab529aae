"""Sizes of a search of seconds."""

import json
from pathlib import Path
from typing import Any

from autoprune.search.search import Search
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


def script(folder: Path, answers: list[str]) -> str:
    """A file of a designer that gives these answers."""
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return str(path)


def graph(run: str) -> str:
    """Digest of a run's reasoning graph: all figures are in it."""
    with Search.open(State.open().run(run)) as found:
        return found.graph.digest
