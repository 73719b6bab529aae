"""Benches that a run holds open in this process; those of tasks that get an id are found by it.

Only one run of a machine has a bench open at a time, as all would spin on the same cores.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from autoprune.bench.bench import Bench
from autoprune.bench.model import ModelBench
from autoprune.bench.text import BenchText
from autoprune.errors import AutopruneError
from autoprune.progress import Report, silent
from autoprune.store import Store
from tasks.state import State
from tasks.turns import turn


class Workbench(ModelBench):
    """A model on a bench, in a state folder.

    Args:
        id: How tasks find it.
        model_ref: Reference of the model.
        state: Where caches lie.
        seed: Seed of the run.
        report: Where the library reports progress.
        dtype: Type of the weights in memory, by torch's name.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 (its name everywhere)
        model_ref: str,
        state: State,
        seed: int = 0,
        report: Report = silent,
        dtype: str = "float32",
    ) -> None:
        super().__init__(model_ref, Store(state.store), seed, report, dtype)
        self.id = id
        self.state = state


class TextWorkbench(Workbench, Bench):
    """A model with its text in parts on a bench, in a state folder.

    Args:
        id: How tasks find it.
        model_ref: Reference of the model.
        state: Where caches lie.
        text: Corpus, split and windows of each part.
        shared: Seed, report, dtype, scorer and calibration, as of a bench.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 (its name everywhere)
        model_ref: str,
        state: State,
        text: BenchText,
        **shared: Any,
    ) -> None:
        Bench.__init__(self, model_ref, Store(state.store), text, **shared)
        self.id = id
        self.state = state


Opened = TypeVar("Opened", bound=Workbench)
_open: dict[str, Workbench] = {}


def find_workbench(workbench_id: str) -> Workbench:
    """The open workbench of this process.

    Raises:
        AutopruneError: If there is none of this id, for example in another process.
    """
    try:
        return _open[workbench_id]
    except KeyError:
        raise AutopruneError(
            f"no workbench {workbench_id!r} is open in this process; its flow must open it, and "
            "tasks of one run must stay in one process"
        ) from None


def find_bench(bench_id: str, kind: type[Opened]) -> Opened:
    """The open workbench of a kind, as :func:`find_workbench`.

    Raises:
        AutopruneError: If there is none of this id, or it is of another kind.
    """
    bench = find_workbench(bench_id)
    if not isinstance(bench, kind):
        raise AutopruneError(f"workbench {bench_id!r} is no {kind.__name__}")
    return bench


@contextmanager
def opened(bench: Opened) -> Iterator[Opened]:
    """Make ``bench`` reachable by its id, and close it at the end whatever happens.

    Under a server with the machine's concurrency limit, waits until no other run has a bench open.

    Raises:
        AutopruneError: If the id is in use in this process.
    """
    if bench.id in _open:
        raise AutopruneError(
            f"workbench {bench.id!r} is already open in this process; wait for the other run"
        )
    _open[bench.id] = bench
    try:
        with turn(bench.state):
            yield bench
    finally:
        del _open[bench.id]
        bench.close()
