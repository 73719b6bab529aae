"""The bench of a search: sizes from its specification, designs in the sandbox."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from autoprune.bench.calibration import DocumentDraws
from autoprune.bench.program_limits import ProgramLimits, limits_of
from autoprune.bench.scoring import HostScorer
from autoprune.bench.text import CALIBRATION, SEALED, SELECTION, BenchText
from autoprune.budget import Budget
from autoprune.models.record import source_record
from autoprune.progress import Report, silent
from autoprune.repair import Repair
from autoprune.search.spec import SearchSpec
from tasks.programs import SandboxPrograms
from tasks.sandbox_scorer import SandboxScorer
from tasks.state import State
from tasks.workbench import Workbench

if TYPE_CHECKING:
    from sandbox.client import Sandbox

# Command-line options that set the windows of a part, and their length.
OPTIONS = {
    CALIBRATION: "--calibration-windows",
    SELECTION: "--selection-windows",
    "seqlen": "--seqlen",
}


class SearchBench(Workbench):
    """A bench with everything that the steps of a search need.

    Args:
        model_ref: As in :class:`tasks.workbench.Workbench`, like the arguments up to ``dtype``.
        spec: The search's specification.
        run_id: Name of the search.
        designs_in: ``docker``, or ``off`` for formulas that the language itself evaluates.
        log_id: What tells the search from a later one of its name; see
            :func:`autoprune.search.identity.log_id`.
    """

    def __init__(
        self,
        model_ref: str,
        state: State,
        seed: int = 0,
        report: Report = silent,
        dtype: str = "float32",
        *,
        spec: SearchSpec,
        run_id: str,
        designs_in: Literal["docker", "off"] = "docker",
        log_id: str = "",
    ) -> None:
        counts: dict[str, int] = {
            CALIBRATION: spec.calibration_windows,
            SELECTION: spec.selection_windows,
            SEALED: spec.sealed_windows,
        }
        text = BenchText(spec.corpus, spec.seqlen, counts, spec.text_split, OPTIONS)
        # What the repairs of this search will read, so that one pass of the model collects it all.
        foreseen = frozenset[str]().union(
            *(Repair.parse(text).needs for text in spec.choices.repairs)
        )
        boxed = designs_in == "docker"
        designs = (
            SandboxScorer(state.inputs, run_id, spec.values) if boxed else HostScorer(spec.values)
        )
        programs = SandboxPrograms(state.inputs, run_id, self._largest, most=spec.program_seconds)
        super().__init__(
            model_ref, state, seed, report, dtype, text=text, scorer=designs,
            calibration=DocumentDraws(designs.offered | foreseen),
            programs=programs if boxed else None,
        )  # fmt: skip
        self.products = torch.bfloat16 if spec.precision == "bfloat16" else None
        self.spec = spec
        self.run_id = run_id
        self.log_id = log_id
        self.designs_in = designs_in

    def origin(self, share: float) -> dict[str, Any]:
        """What the record of a model that this bench saves says of its source, budget and text."""
        return {
            **source_record(self.model_ref, self.loaded.source.digest, self.seed),
            "target": share,
            "pattern": self.spec.pattern,
            "text_split": self.spec.text_split,
        }

    def _largest(self) -> ProgramLimits:
        """Limits of programs: three blocks are pruned in one call when a program is validated."""
        whole = limits_of(self.layers, self.spec.calibration_windows, self.spec.seqlen)
        return replace(whole, seconds=3 * whole.seconds)

    @property
    def budget(self) -> Budget:
        """The budget that the search prunes to."""
        return self.spec.target

    def budget_of(self, sparsity: float) -> Budget:
        """This share of zeros in the search's pattern."""
        return Budget(sparsity, self.spec.pattern)

    @property
    def sandbox(self) -> "Sandbox | None":
        """The sandbox of the bench's scorer, opened at first use; None if it has none."""
        return self.scorer.sandbox if isinstance(self.scorer, SandboxScorer) else None

    @contextmanager
    def unrounded(self) -> Iterator[None]:
        """Compute products on selection text in float32 inside the context."""
        usual, self.products = self.products, None
        try:
            yield
        finally:
            self.products = usual
