"""The workbench of a search: text in three parts, shared statistics, sandbox, dense weights."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import AutopruneError, UsageError
from autoprune.search.spec import SearchSpec
from tasks.mask_memory import MaskMemory
from tasks.sandbox_scores import OFFERED
from tasks.workbench import Workbench, find_workbench

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.allocation.context import ModelContext
    from autoprune.evaluation.kl import DensePredictions
    from autoprune.models.structure import PrunableLinear
    from autoprune.pruning import DenseWeights
    from autoprune.statistics.layer_files import LayerFile
    from autoprune.statistics.statistics import Statistics
    from autoprune.text.splits import Splits
    from sandbox.client import Sandbox

CALIBRATION = "calibration"
SELECTION = "selection"
SEALED = "sealed"
# Options of the command line that set the number of windows that a part must have.
OPTIONS = {CALIBRATION: "--calibration-windows", SELECTION: "--selection-windows"}


@dataclass
class SearchBench(Workbench):
    """A workbench with everything that the steps of a search need.

    Args:
        spec: The search's specification.
        run_id: Name of the search.
        designs_in: ``docker``, or ``off`` for formulas that the language itself evaluates.
        masks: What may be asked for again.
        draw: Which draw of calibration text is in use.
    """

    spec: SearchSpec = field(kw_only=True)
    run_id: str = field(kw_only=True)
    designs_in: str = field(default="docker", kw_only=True)
    masks: MaskMemory = field(default_factory=MaskMemory, kw_only=True)
    draw: int = field(default=0, kw_only=True)

    @cached_property
    def splits(self) -> "Splits":
        """Calibration, selection and sealed text, disjoint by document."""
        from autoprune.text.corpora import load_corpus
        from autoprune.text.splits import split

        text = load_corpus(self.spec.corpus, cache=self.store, tokenizer=self.tokenizer)
        return split(text, seed=self.spec.text_split)

    def part(self, name: str) -> "Tensor":
        """Token windows of one part of the text, int64 [windows, seqlen].

        The sealed part may hold fewer than were asked for; then all of it is used.

        Raises:
            UsageError: If another part is too short for the windows that were asked for.
        """
        if name not in self.windows:
            from autoprune.text.windows import token_windows

            spec = self.spec
            counts = {
                CALIBRATION: spec.calibration_windows,
                SELECTION: spec.selection_windows,
                SEALED: spec.sealed_windows,
            }
            corpus = getattr(self.splits, name)
            found = token_windows(
                corpus, self.loaded.tokenizer, counts[name], spec.seqlen, cache=self.store
            )
            if len(found) < counts[name] and name != SEALED:
                raise UsageError(
                    f"the {name} part of {spec.corpus} holds {len(found)} windows of "
                    f"{spec.seqlen} tokens, and {counts[name]} are asked for; lower "
                    f"{OPTIONS[name]} or --seqlen, or take a longer text"
                )
            self.windows[name] = found
        return self.windows[name]

    @contextmanager
    def drawn(self, draw: int) -> Iterator[None]:
        """Work with statistics of another draw of calibration text of the same size."""
        before, self.draw = self.draw, draw
        try:
            yield
        finally:
            self.draw = before

    @property
    def calibration_windows(self) -> "Tensor":
        """Calibration token ids of this draw, int64 [n, s]."""
        name = self._calibration_windows()
        return self.windows[name]

    def _calibration_windows(self) -> str:
        """Name of the windows of this draw; all draws are of one distribution."""
        self.part(CALIBRATION)
        if self.draw == 0:
            return CALIBRATION
        name = f"{CALIBRATION} {self.draw}"
        if name not in self.windows:
            from autoprune.text.windows import token_windows

            self.windows[name] = token_windows(
                self.splits.calibration.draw(self.draw), self.loaded.tokenizer,
                len(self.windows[CALIBRATION]), self.spec.seqlen, cache=self.store,
            )  # fmt: skip
        return name

    def calibrated(self, needs: Collection[str]) -> "Statistics":
        """Statistics of the dense model with at least ``needs``, from this draw's windows."""
        windows = self._calibration_windows()
        wanted = OFFERED | self._foreseen | set(needs)
        known = self._statistics.get(self.draw)
        if known is None or not wanted <= known[0]:
            names = wanted if known is None else wanted | known[0]
            # Weights may be pruned at this moment; statistics are of the dense model.
            self.dense.restore()
            # Gram matrices take more memory than the model: those of one draw at a time.
            self._statistics = {self.draw: (names, self.statistics(windows, names))}
        return self._statistics[self.draw][1]

    def verify_statistics(self) -> None:
        """Check that this draw's statistics in memory are those of the store.

        Raises:
            DamagedStatisticsError: If they are not.
        """
        from autoprune.statistics.statistics import verify_statistics

        if self.draw not in self._statistics:
            return
        names, found = self._statistics[self.draw]
        windows = self.windows[self._calibration_windows()]
        verify_statistics(found, self.store, self.loaded, windows, needs=names)

    @cached_property
    def _foreseen(self) -> frozenset[str]:
        """What the repairs of this search will read, so that one pass of the model collects all."""
        from autoprune.repair import Repair

        repairs = [Repair.parse(text) for text in self.spec.choices.solvers]
        return frozenset[str]().union(*(repair.needs for repair in repairs))

    def distance_to_dense(self, part: str, windows: int, known: int = 0) -> tuple[float, ...]:
        """Mean KL of the model as it is now to the dense one on each window, nats per token.

        Args:
            part: Of the text.
            windows: The first so many of its windows.
            known: Without the first so many of them.
        """
        from autoprune.evaluation.kl import dense_predictions, kl_to_dense

        if part not in self._predictions:
            pruned = type(self.dense)(self.layers)
            self.dense.restore()
            self._predictions[part] = dense_predictions(
                self.loaded.model, self.part(part), report=self.report
            )
            pruned.restore()
        return kl_to_dense(
            self.loaded.model,
            self._predictions[part],
            windows=windows,
            known=known,
            report=self.report,
        )

    @cached_property
    def dense(self) -> "DenseWeights":
        """Copy of the prunable weights, to restore after each candidate."""
        from autoprune.pruning import DenseWeights

        return DenseWeights(self.layers)

    def context_for(self, statistics: "Statistics") -> "ModelContext":
        """What allocators look at; kept while the statistics stay the same, since it is costly."""
        from autoprune.allocation.context import ModelContext

        if self._context is None or self._context.statistics is not statistics:
            self._context = ModelContext(self.layers, statistics, self.seed)
        return self._context

    @property
    def layer_files(self) -> "dict[str, LayerFile]":
        """Read-only files of weights and offered statistics of this draw, by layer name."""
        if self.draw not in self._layer_files:
            from autoprune.statistics.layer_files import write_layer_files

            self.dense.restore()
            statistics = self.calibrated(OFFERED)
            written = write_layer_files(
                self.layers, statistics, self.inputs_folder, names=sorted(OFFERED)
            )
            self._layer_files[self.draw] = {file.layer_name: file for file in written}
        return self._layer_files[self.draw]

    @property
    def inputs_folder(self) -> Path:
        """Folder that containers of this search may read."""
        return self.state.inputs

    @cached_property
    def sandbox(self) -> "Sandbox":
        """The sandbox, opened at first use."""
        from sandbox.client import Sandbox

        self.inputs_folder.mkdir(parents=True, exist_ok=True)
        return Sandbox(
            inputs=self.inputs_folder, run_id=self.run_id, statistics=OFFERED
        ).__enter__()

    @cached_property
    def probes(self) -> "list[PrunableLinear]":
        """A few layers that stand for all in validation."""
        from tasks.probes import probe_layers

        return probe_layers(self.layers, self.calibrated(()))

    def close(self) -> None:
        """Stop the sandbox and let the model go."""
        opened: Any = self.__dict__.pop("sandbox", None)
        if opened is not None:
            opened.__exit__(None, None, None)
        for name in ("dense", "splits", "probes"):
            self.__dict__.pop(name, None)
        self._context = None
        for kept in (self._statistics, self._predictions, self._layer_files):
            kept.clear()
        self.masks = MaskMemory()
        super().close()

    _context: "ModelContext | None" = field(default=None, init=False, repr=False)
    _statistics: "dict[int, tuple[set[str] | frozenset[str], Statistics]]" = field(
        default_factory=dict, init=False, repr=False
    )
    _predictions: "dict[str, DensePredictions]" = field(
        default_factory=dict, init=False, repr=False
    )
    _layer_files: "dict[int, dict[str, LayerFile]]" = field(
        default_factory=dict, init=False, repr=False
    )


def find_search_bench(bench_id: str) -> SearchBench:
    """The open search workbench of this process.

    Raises:
        AutopruneError: If there is none of this id.
    """
    bench = find_workbench(bench_id)
    if not isinstance(bench, SearchBench):
        raise AutopruneError(f"workbench {bench_id!r} is not one of a search")
    return bench
