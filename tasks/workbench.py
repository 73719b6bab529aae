"""Benches that a run holds open in this process.

Only one run of a machine has a bench open at a time, as all would spin on the same cores.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from autoprune.bench.bench import Bench
from autoprune.bench.calibration import Calibration, DocumentDraws
from autoprune.bench.scoring import HostScorer, Scorer
from autoprune.bench.text import BenchText
from autoprune.programs import ProgramRunner
from autoprune.progress import Report, silent
from autoprune.statistics.statistics import ALL
from autoprune.store import Store
from tasks.in_use import reading_caches
from tasks.state import State
from tasks.turns import turn

if TYPE_CHECKING:
    from tasks.compare_bench import CompareBench


class Workbench(Bench):
    """A bench in a state folder.

    Args:
        model_ref: Reference of the model.
        state: Where caches are kept.
        seed: Seed of the run.
        report: Where the library reports progress.
        dtype: Type of the weights in memory, by torch's name.
        text: Corpus, split and windows of each part; None while there are only windows by name.
        scorer: Scores the weights; None: on the host, from any statistics.
        calibration: How draws of calibration text are cut and their statistics kept; None: by
            document, each statistic at the first request.
        programs: Runs designed programs; None refuses them.
    """

    def __init__(
        self,
        model_ref: str,
        state: State,
        seed: int = 0,
        report: Report = silent,
        dtype: str = "float32",
        *,
        text: BenchText | None = None,
        scorer: Scorer | None = None,
        calibration: Calibration | None = None,
        programs: ProgramRunner | None = None,
    ) -> None:
        super().__init__(
            model_ref, Store(state.store), text or BenchText("", 0, {}), seed, report, dtype,
            scorer=scorer or HostScorer(ALL), calibration=calibration or DocumentDraws(),
            programs=programs,
        )  # fmt: skip
        self.state = state


Opened = TypeVar("Opened", bound="Workbench | CompareBench")


@contextmanager
def opened(bench: Opened) -> Iterator[Opened]:
    """Hold a bench open, and close it at the end whatever happens.

    On a server with the machine's concurrency limit, wait until no other run has a bench open.
    """
    try:
        with turn(bench.state), reading_caches(bench.state):
            yield bench
    finally:
        bench.close()
