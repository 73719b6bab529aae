"""The bench of a search: sizes by its specification, designs in the sandbox."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from autoprune.bench.bench import Bench
from autoprune.bench.calibration import DocumentDraws
from autoprune.bench.scoring import OFFERED, HostScorer
from autoprune.bench.text import CALIBRATION, SEALED, SELECTION, BenchText
from autoprune.budget import Budget
from autoprune.errors import AutopruneError
from autoprune.progress import Report, silent
from autoprune.repair import Repair
from autoprune.search.spec import SearchSpec
from autoprune.store import Store
from tasks.sandbox_scorer import SandboxScorer
from tasks.state import State
from tasks.workbench import Workbench, find_workbench

if TYPE_CHECKING:
    from torch import Tensor

    from sandbox.client import Sandbox

# Options of the command line that set the windows of a part, and their length.
OPTIONS = {
    CALIBRATION: "--calibration-windows",
    SELECTION: "--selection-windows",
    "seqlen": "--seqlen",
}


class SearchBench(Workbench, Bench):
    """A bench with everything that the steps of a search need.

    Args:
        id: How tasks find it.
        model_ref: Reference of the model.
        state: Where caches lie.
        seed: Seed of the run.
        report: Where the library reports progress.
        dtype: Type of the weights in memory, by torch's name.
        spec: The search's specification.
        run_id: Name of the search.
        designs_in: ``docker``, or ``off`` for formulas that the language itself evaluates.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 (its name everywhere)
        model_ref: str,
        state: State,
        seed: int = 0,
        report: Report = silent,
        dtype: str = "float32",
        *,
        spec: SearchSpec,
        run_id: str,
        designs_in: Literal["docker", "off"] = "docker",
    ) -> None:
        counts: dict[str, int] = {
            CALIBRATION: spec.calibration_windows,
            SELECTION: spec.selection_windows,
            SEALED: spec.sealed_windows,
        }
        text = BenchText(spec.corpus, spec.seqlen, counts, spec.text_split, OPTIONS)
        # What the repairs of this search will read, so that one pass of the model collects all.
        foreseen = frozenset[str]().union(
            *(Repair.parse(solver).needs for solver in spec.choices.solvers)
        )
        designs = SandboxScorer(state.inputs, run_id) if designs_in == "docker" else HostScorer()
        Bench.__init__(
            self,
            model_ref,
            Store(state.store),
            text,
            seed,
            report,
            dtype,
            scorer=designs,
            calibration=DocumentDraws(OFFERED | foreseen),
        )
        self.id = id
        self.state = state
        self.spec = spec
        self.run_id = run_id
        self.designs_in = designs_in
        self.draw = 0

    @property
    def budget(self) -> Budget:
        """What the search prunes to."""
        return self.budget_of(self.spec.sparsity)

    def budget_of(self, sparsity: float) -> Budget:
        """This share of zeros in the search's pattern."""
        return Budget(sparsity, self.spec.pattern)

    @property
    def sandbox(self) -> "Sandbox | None":
        """The sandbox of the bench's scorer, opened at first use; None where it has none."""
        return self.scorer.sandbox if isinstance(self.scorer, SandboxScorer) else None

    @contextmanager
    def drawn(self, draw: int) -> Iterator[None]:
        """Let :func:`tasks.measure.pruned` work with another draw of calibration text."""
        before, self.draw = self.draw, draw
        try:
            yield
        finally:
            self.draw = before

    @property
    def calibration_windows(self) -> "Tensor":
        """Calibration token ids of the draw in use, int64 [n, s]."""
        return self.drawn_windows(self.draw)


def find_search_bench(bench_id: str) -> SearchBench:
    """The open bench of a search in this process.

    Raises:
        AutopruneError: If there is none of this id.
    """
    bench = find_workbench(bench_id)
    if not isinstance(bench, SearchBench):
        raise AutopruneError(f"workbench {bench_id!r} is not one of a search")
    return bench
