"""Benches that a run holds open in this process.

Only one run of a machine has a bench open at a time, as all would spin on the same cores.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from autoprune.bench.bench import Bench
from autoprune.bench.model import ModelBench
from autoprune.bench.text import BenchText
from autoprune.progress import Report, silent
from autoprune.store import Store
from tasks.in_use import reading_caches
from tasks.state import State
from tasks.turns import turn


class Workbench(ModelBench):
    """A model on a bench, in a state folder.

    Args:
        model_ref: Reference of the model.
        state: Where caches are kept.
        seed: Seed of the run.
        report: Where the library reports progress.
        dtype: Type of the weights in memory, by torch's name.
    """

    def __init__(
        self,
        model_ref: str,
        state: State,
        seed: int = 0,
        report: Report = silent,
        dtype: str = "float32",
    ) -> None:
        super().__init__(model_ref, Store(state.store), seed, report, dtype)
        self.state = state


class TextWorkbench(Workbench, Bench):
    """A model with its text in parts on a bench, in a state folder.

    Args:
        model_ref: Reference of the model.
        state: Where caches are kept.
        text: Corpus, split and windows of each part.
        shared: Seed, report, dtype, scorer and calibration, as for a bench.
    """

    def __init__(
        self,
        model_ref: str,
        state: State,
        text: BenchText,
        **shared: Any,
    ) -> None:
        Bench.__init__(self, model_ref, Store(state.store), text, **shared)
        self.state = state


Opened = TypeVar("Opened", bound=Workbench)


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
