"""The workbench of a comparison: three parts of a text, calibration draws, shared statistics."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.digest import digest_bytes
from autoprune.errors import AutopruneError, UsageError
from tasks.workbench import Workbench, find_workbench

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.allocation.context import ModelContext
    from autoprune.comparison.cells import CellStore
    from autoprune.comparison.peer import PeerModel
    from autoprune.comparison.shared import SharedStatistics
    from autoprune.evaluation.kl import DensePredictions
    from autoprune.pruning import DenseWeights, Precision
    from autoprune.text.splits import Splits

# Option of the command line that sets the number of windows that the selection part must have.
OPTION = "--selection-windows"


@dataclass
class Draw:
    """What all methods of one calibration draw share."""

    seed: int
    windows: "Tensor"
    shared: "SharedStatistics"
    context: "ModelContext"


@dataclass
class CompareBench(Workbench):
    """A workbench with everything that the cells of a comparison need.

    Args:
        corpus: Reference of the text.
        samples: Calibration windows of a draw.
        seqlen: Tokens in a window.
        counts: Selection and sealed windows.
        text_split: Number of the text's split.
        asked: Name of the comparison, under which its looks at sealed text are counted.
        expected: Statistics that the methods of the comparison need.
        peers: Interpreter by peer tool.
        records: Full records of the run's cells, by the digest of the cell.
        kept: Where each record is kept: digest of its key, and of each suite's, by suite; the
            cell's own under an empty name.
        suites: Suites that every pruned model is measured by, with all settings.
        own_distance: Settings of ``lm`` for the distance to the dense model on the sealed windows.
        precision: Rounding of block tuning; see :class:`autoprune.pruning.PruningPlan`.
        record: Folder of the comparison's record; None for none.
    """

    corpus: str = field(kw_only=True)
    samples: int = field(kw_only=True)
    seqlen: int = field(kw_only=True)
    counts: dict[str, int] = field(kw_only=True)
    text_split: int = field(default=0, kw_only=True)
    asked: str = field(default="comparison", kw_only=True)
    expected: frozenset[str] = field(default=frozenset(), kw_only=True)
    peers: dict[str, str] = field(default_factory=dict, kw_only=True)
    records: dict[str, dict[str, Any]] = field(default_factory=dict, kw_only=True)
    kept: dict[str, dict[str, str]] = field(default_factory=dict, kw_only=True)
    suites: list[dict[str, Any]] = field(default_factory=list, kw_only=True)
    own_distance: dict[str, Any] = field(default_factory=dict, kw_only=True)
    precision: "Precision" = field(default="auto", kw_only=True)
    record: Path | None = field(default=None, kw_only=True)

    @cached_property
    def splits(self) -> "Splits":
        """Calibration, selection and sealed text, disjoint by document.

        Raises:
            UsageError: If the text is one that the model writes itself.
        """
        from autoprune.text.corpora import load_corpus
        from autoprune.text.generated import is_generated
        from autoprune.text.splits import split

        if is_generated(self.corpus):
            raise UsageError(
                f"the corpus {self.corpus!r} is written by the model itself, and no figure is ever "
                "measured on such text; take wikipedia-sample or a text of your own"
            )
        text = load_corpus(self.corpus, cache=self.store, tokenizer=self.tokenizer)
        return split(text, seed=self.text_split)

    @cached_property
    def cells(self) -> "CellStore":
        """Finished cells of all comparisons in this state folder."""
        from autoprune.comparison.cells import CellStore

        return CellStore(self.state.comparison, self.record)

    @cached_property
    def predictions(self) -> "DensePredictions":
        """What the dense model predicts on the sealed windows; it must be dense at first use."""
        from autoprune.evaluation.kl import dense_predictions

        return dense_predictions(self.loaded.model, self.part("sealed"), report=self.report)

    @cached_property
    def dense(self) -> "DenseWeights":
        """Copy of the prunable weights, to restore after each cell."""
        from autoprune.pruning import DenseWeights

        return DenseWeights(self.layers)

    @cached_property
    def peer_model(self) -> "PeerModel":
        """The dense model on disk, for tools in environments of their own."""
        from autoprune.comparison.peer import PeerModel

        return PeerModel(self.loaded, self.state.comparison)

    def part(self, name: str) -> "Tensor":
        """Windows of the selection or the sealed part, int64 [windows, seqlen].

        The sealed part may hold fewer than were asked for; then all of it is used.

        Raises:
            UsageError: If the selection part is too short for the windows that were asked for.
        """
        if name not in self.windows:
            from autoprune.text.windows import token_windows

            corpus, count = getattr(self.splits, name), self.counts[name]
            found = token_windows(corpus, self.tokenizer, count, self.seqlen, cache=self.store)
            if len(found) < count and name != "sealed":
                raise UsageError(
                    f"the {name} part of {self.corpus} holds {len(found)} windows of {self.seqlen} "
                    f"tokens and {count} are asked for; lower {OPTION} or --seqlen, or take "
                    "a longer text"
                )
            self.windows[name] = found
        return self.windows[name]

    @cached_property
    def pool(self) -> "Tensor":
        """Windows from which calibration draws are taken, int64 [windows, seqlen]."""
        from autoprune.comparison.draws import POOL_DRAWS
        from autoprune.text.windows import token_windows

        count = POOL_DRAWS * self.samples
        corpus = self.splits.calibration
        return token_windows(corpus, self.tokenizer, count, self.seqlen, cache=self.store)

    def drawn(self, seed: int) -> "Tensor":
        """Windows of one draw; with another seed of the run all draws are others."""
        from autoprune.comparison.draws import MOST_DRAWS, draw_windows

        return draw_windows(self.pool, self.samples, seed + MOST_DRAWS * self.seed)

    def draw(self, seed: int) -> Draw:
        """The draw with its shared statistics; the one before it is let go."""
        if self._draw is None or self._draw.seed != seed:
            from autoprune.allocation.context import ModelContext
            from autoprune.comparison.shared import SharedStatistics

            self._draw = None
            windows = self.drawn(seed)
            shared = SharedStatistics(
                self.loaded, self.store, windows, expected=self.expected, report=self.report
            )
            context = ModelContext(self.layers, shared.require(()), seed)
            self._draw = Draw(seed, windows, shared, context)
        return self._draw

    def digest(self, name: str) -> str:
        """SHA-256 of a part's windows."""
        return windows_digest(self.part(name))

    def close(self) -> None:
        """Let the model and everything that hangs on it go."""
        copy: Any = self.__dict__.pop("peer_model", None)
        if copy is not None:
            copy.close()
        for name in ("dense", "splits", "pool", "predictions"):
            self.__dict__.pop(name, None)
        self._draw = None
        super().close()

    _draw: "Draw | None" = field(default=None, init=False, repr=False)


def windows_digest(windows: Any) -> str:
    """SHA-256 of token windows, shape included."""
    return digest_bytes(
        repr(tuple(windows.shape)).encode() + windows.contiguous().numpy().tobytes()
    )


def find_compare_bench(bench_id: str) -> CompareBench:
    """The open comparison workbench of this process.

    Raises:
        AutopruneError: If there is none of this id.
    """
    bench = find_workbench(bench_id)
    if not isinstance(bench, CompareBench):
        raise AutopruneError(f"workbench {bench_id!r} is not one of a comparison")
    return bench
