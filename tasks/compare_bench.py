"""The bench of a comparison in a state folder: its caches, its containers, its sealed looks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.bench.program_limits import limits_of
from autoprune.bench.text import SEALED, SELECTION, BenchText
from autoprune.comparison.bench import ComparisonBench
from autoprune.comparison.cells import CellStore
from autoprune.progress import Report, silent
from autoprune.report.sealed import SealedSet
from autoprune.store import Store
from tasks import track
from tasks.programs import SandboxPrograms
from tasks.provenance import code_commit
from tasks.sealed_looks import Looks, count_looks, earlier_looks
from tasks.state import State

if TYPE_CHECKING:
    from autoprune.text.splits import Splits
    from tasks.track.runs import Tracker

# Command-line options that set the windows of a part, and their length.
OPTIONS = {SELECTION: "--selection-windows", SEALED: "--sealed-windows", "seqlen": "--seqlen"}


class CompareBench(ComparisonBench):
    """The library's bench of a comparison, with what belongs to this installation.

    Args:
        model_ref: Reference of the model.
        state: Where cells and caches are kept.
        seed: Seed of the run.
        report: Where the library reports progress.
        dtype: Type of the weights in memory, by torch's name.
        corpus: Reference of the text.
        calibration_windows: Windows of a calibration draw.
        seqlen: Tokens in a window.
        counts: Selection and sealed windows.
        text_split: Number of the text's split.
        asked: Name of the comparison, under which its looks at sealed text are counted.
        record: Folder of the comparison's record; None for none.
        further: As in :class:`autoprune.comparison.bench.ComparisonBench`.
    """

    def __init__(
        self,
        model_ref: str,
        state: State,
        seed: int = 0,
        report: Report = silent,
        dtype: str = "float32",
        *,
        corpus: str,
        calibration_windows: int,
        seqlen: int,
        counts: dict[str, int],
        text_split: int = 0,
        asked: str = "comparison",
        record: Path | None = None,
        **further: Any,
    ) -> None:
        # A container is made only for the first method that is a program.
        runner = SandboxPrograms(
            state.inputs, "compare", lambda: limits_of(self.layers, calibration_windows, seqlen)
        )
        text = BenchText(corpus, seqlen, counts, text_split, OPTIONS)
        super().__init__(
            model_ref, Store(state.store), text, seed, report, dtype,
            calibration_windows=calibration_windows, cells=CellStore(state.comparison, record),
            looks=CountedLooks(state, asked), programs=runner,
            commit=code_commit(), **further,
        )  # fmt: skip
        self.state = state
        self.asked = asked
        # The table as last written, with the records of its cells.
        self.table: dict[str, Any] = {}

    @cached_property
    def tracker(self) -> "Tracker":
        """MLflow's store, which remembers what the table's last update wrote."""
        return track.Tracker(self.state)


@dataclass(frozen=True)
class CountedLooks:
    """The library's :class:`autoprune.comparison.looks.SealedLooks`, in the ledger.

    Args:
        state: The state folder.
        asked: Name of the comparison that all looks are a part of.
    """

    state: State
    asked: str

    def noting(self, run: str) -> Callable[..., None]:
        """See the protocol."""
        return Looks(self.state, run, "compare", self.asked).note

    def earlier_looks(self, splits: "Splits") -> SealedSet:
        """See the protocol."""
        return earlier_looks(self.state, splits, self.asked)

    def count(self, splits: "Splits") -> int:
        """See the protocol."""
        return count_looks(self.state, splits.sealed.digest, splits.whole, splits.number)
