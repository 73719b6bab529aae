"""A metric that a test holds: work that ends when the test says so, not when the machine is done.

Whatever is interrupted in the middle of it is interrupted in the middle of it on every machine.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from torch import Tensor

from autoprune.metrics import METRICS
from autoprune.metrics.metric import ParametricMetric

FOLDER, FREE = "AUTOPRUNE_TEST_HELD", "AUTOPRUNE_TEST_HELD_AFTER"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class HeldMetric(ParametricMetric):
    """Wanda's scores, which never come in a process that has :data:`FOLDER` in its environment."""

    name: ClassVar[str] = "held"
    source: ClassVar[str] = "the tests"
    needs: ClassVar[frozenset[str]] = frozenset({"x_norm"})

    @property
    def formula(self) -> str:
        """The metric in the metric language."""
        return "abs(W) * x_norm"

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`autoprune.metrics.metric.Metric.score`."""
        if folder := os.environ.get(FOLDER):
            _wait(Path(folder))
        return weight.float().abs() * self.statistic(stats, "x_norm")


HELD = HeldMetric()


def _wait(folder: Path) -> None:
    # One file for the calls of all processes.
    with (folder / "calls").open("ab") as calls:
        calls.write(b".")
        calls.flush()
        free = calls.tell() <= int(os.environ[FREE])
    if not free:
        (folder / "reached").touch()
        while True:
            time.sleep(0.05)


@dataclass(frozen=True)
class Hold:
    """The metric ``held`` in this process, where it waits for nothing, and in those that it starts.

    Args:
        folder: Of the installed plug-in and its marks.
        free: Layers that are scored before it waits.
    """

    folder: Path
    free: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """Of a process in which the metric is found, and waits."""
        places = os.pathsep.join([str(self.folder), str(ROOT)])
        return {"PYTHONPATH": places, FOLDER: str(self.folder), FREE: str(self.free)}

    @property
    def reached(self) -> bool:
        """Whether it waits somewhere."""
        return (self.folder / "reached").exists()


def hold(folder: Path, monkeypatch: pytest.MonkeyPatch, free: int = 0) -> Hold:
    """Install the plug-in in a folder of its own; see :class:`Hold`."""
    info = folder / "held-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: held\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[autoprune.metrics]\nheld = tests.support.held:HELD\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(METRICS._entries, "held", HELD)
    return Hold(folder, free)
