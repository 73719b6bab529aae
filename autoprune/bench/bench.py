"""One model on a bench, with its text in parts: apply a recipe, measure it, restore."""

import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from autoprune.allocation.context import ModelContext
from autoprune.bench.behaviour import behaviour
from autoprune.bench.block_probe import BlockProbe
from autoprune.bench.calibration import Calibration, DocumentDraws, DrawStatistics, fresh_name
from autoprune.bench.mask_memory import MaskMemory
from autoprune.bench.model import ModelBench
from autoprune.bench.outcomes import Measurement, Validation
from autoprune.bench.probes import probe_layers
from autoprune.bench.prune import prune_on
from autoprune.bench.scheme_recipe import check_shapes, smaller_by
from autoprune.bench.scoring import OFFERED, CandidateRejectedError, HostScorer, Scorer
from autoprune.bench.text import CALIBRATION, SEALED, SELECTION, BenchText, Part, windows_digest
from autoprune.budget import Budget
from autoprune.errors import LONGEST_DETAIL, UsageError, reason_of
from autoprune.evaluation.kl import DensePredictions, dense_predictions
from autoprune.evaluation.perplexity import Evaluation, evaluate_windows
from autoprune.models.structure import PrunableLinear
from autoprune.programs import ProgramRunner
from autoprune.progress import Report, silent
from autoprune.pruning import PruneOutcome
from autoprune.recipe import Recipe
from autoprune.renamed import renamed
from autoprune.statistics.statistics import Statistics
from autoprune.store import Store
from autoprune.text.corpora import load_corpus
from autoprune.text.generated import is_generated
from autoprune.text.splits import Splits, split
from autoprune.text.windows import token_windows

ALL = slice(None)


class Bench(ModelBench):
    """A model with its text in three parts, statistics of calibration draws and a dense copy.

    Args:
        model_ref: Reference of the model; loaded on first use.
        store: Keeps windows and statistics.
        text: Corpus, split and windows of each part.
        seed: Seed for random controls and for the order of tuning.
        report: Called with progress.
        dtype: Type of the weights in memory, by torch's name.
        scorer: Scores the weights; by default on the host, which refuses designed Python.
        calibration: How draws of calibration text are cut and their statistics kept.
        programs: Runs designed programs; None refuses them.
    """

    def __init__(
        self,
        model_ref: str,
        store: Store,
        text: BenchText,
        seed: int = 0,
        report: Report = silent,
        dtype: str = "float32",
        *,
        scorer: Scorer | None = None,
        calibration: Calibration | None = None,
        programs: ProgramRunner | None = None,
    ) -> None:
        super().__init__(model_ref, store, seed, report, dtype)
        self.text = text
        self.scorer: Scorer = HostScorer() if scorer is None else scorer
        self.calibration: Calibration = (
            DocumentDraws(OFFERED) if calibration is None else calibration
        )
        self.programs = programs
        self.masks = MaskMemory()
        self._statistics: tuple[int, DrawStatistics] | None = None
        self._context: ModelContext | None = None
        self._predictions: dict[str, DensePredictions] = {}

    @classmethod
    @renamed(windows="calibration_windows", selection="selection_windows", sealed="sealed_windows")
    @contextmanager
    def open(
        cls,
        model: str | Path,
        *,
        corpus: str | Path = "wikipedia-sample",
        seqlen: int = 512,
        calibration_windows: int = 16,
        selection_windows: int = 16,
        sealed_windows: int = 100,
        split: int = 0,
        seed: int = 0,
        cache: Path | None = None,
        scorer: Scorer | None = None,
        programs: ProgramRunner | None = None,
        report: Report = silent,
        dtype: str = "float32",
    ) -> "Iterator[Bench]":
        """Open a bench for the body of a ``with`` statement.

        Args:
            model: A hub id, a folder, a ``.gguf`` file or ``package:module/file``.
            corpus: A known name or a ``.txt``, ``.jsonl`` or ``.parquet`` file; it is split by
                document into calibration, selection and sealed text.
            seqlen: Tokens per window.
            calibration_windows: Windows per draw of the calibration part.
            selection_windows: Windows of the selection part.
            sealed_windows: Windows of the sealed part.
            split: Number of the split.
            seed: Seed for random controls and for the order of tuning.
            cache: Folder for windows and statistics; None: a temporary one.
            scorer: Scores the weights; None: computed on the host.
            programs: Runs designed programs; None refuses them.
            report: Called with progress.
            dtype: Type of the weights in memory, by torch's name.
        """
        sizes = (calibration_windows, selection_windows, sealed_windows)
        counts = dict[str, int](zip((CALIBRATION, SELECTION, SEALED), sizes, strict=True))
        text = BenchText(str(corpus), seqlen, counts, split, {p: f"{p}_windows" for p in counts})
        with ExitStack() as stack:
            if cache is None:
                cache = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            made = cls(
                str(model), Store(cache), text, seed, report, dtype, scorer=scorer,
                programs=programs,
            )  # fmt: skip
            yield stack.enter_context(made)

    @cached_property
    def splits(self) -> Splits:
        """Calibration, selection and sealed text, disjoint by document.

        Raises:
            UsageError: If the text is written by a model.
        """
        corpus = self.text.corpus
        if is_generated(corpus):
            raise UsageError(
                f"the corpus {corpus!r} is written by the model itself, and no figure is ever "
                "measured on such text; take wikipedia-sample or a text of your own"
            )
        text = load_corpus(corpus, cache=self.store, tokenizer=self.tokenizer)
        return split(text, seed=self.text.split)

    def part(self, name: str) -> Tensor:
        """Token windows of one part of the text, int64 [windows, seqlen].

        Raises:
            UsageError: If a part other than the sealed one is too short for its windows.
        """
        if name not in self.windows:
            count, seqlen = self.text.counts[name], self.text.seqlen
            corpus = getattr(self.splits, name)
            found = token_windows(corpus, self.tokenizer, count, seqlen, cache=self.store)
            if len(found) < count and name != SEALED:
                lower = [self.text.options.get(what, what) for what in (name, "seqlen")]
                raise UsageError(
                    f"the {name} part of {self.text.corpus} holds {len(found)} windows of "
                    f"{seqlen} tokens, and {count} are asked for; lower {lower[0]} or {lower[1]}, "
                    "or take a longer text"
                )
            self.windows[name] = found
        return self.windows[name]

    def digest(self, name: str) -> str:
        """SHA-256 of a part's windows."""
        return windows_digest(self.part(name))

    def drawn_windows(self, draw: int = 0) -> Tensor:
        """Calibration token ids of one draw, int64 [n, s]."""
        name = CALIBRATION if draw == 0 else f"{CALIBRATION} {draw}"
        if name not in self.windows:
            self.windows[name] = self.calibration.windows(self, draw)
        return self.windows[name]

    def fresh_windows(self, count: int, draw: int = 0) -> Tensor | None:
        """Up to ``count`` windows of the calibration part that are not in this draw.

        Args:
            count: Windows wanted; for 0, None is returned.
            draw: Draw of calibration text.
        """
        if count == 0:
            return None
        name = fresh_name(count, draw)
        if name not in self.windows:
            self.windows[name] = self.calibration.fresh(self, draw, count)
        return self.windows[name]

    def calibrated(self, needs: Collection[str], draw: int = 0) -> Statistics:
        """Statistics of the dense model on one draw, with at least ``needs``.

        If they had to be collected, the model is dense afterwards.
        """
        statistics = self.statistics_of(draw)
        with self.holding(self.whole_model):
            if not statistics.covers(needs):
                # Weights may be pruned at this point, but statistics are of the dense model.
                self.dense.restore()
            return statistics.require(needs)

    def statistics_of(self, draw: int) -> DrawStatistics:
        """Statistics of one draw; those of the previous draw are released."""
        if self._statistics is None or self._statistics[0] != draw:
            # Gram matrices take more memory than the model, so keep those of one draw only.
            self._statistics = self._context = None
            made = self.calibration.statistics(self, self.drawn_windows(draw))
            self._statistics = draw, made
        return self._statistics[1]

    def context_for(self, statistics: Statistics, seed: int | None = None) -> ModelContext:
        """Input of the allocators; costly, so it is cached while the statistics stay the same."""
        seed = self.seed if seed is None else seed
        known = self._context
        if known is None or known.statistics is not statistics or known.seed != seed:
            self._context = ModelContext(self.layers, statistics, seed)
            return self._context
        return known

    @cached_property
    def probes(self) -> list[PrunableLinear]:
        """A few layers that represent all layers in validation."""
        return probe_layers(self.layers, self.calibrated(()))

    @cached_property
    def block_probe(self) -> BlockProbe:
        """Three real blocks that represent all blocks in the validation of programs."""
        self.dense.restore()
        return BlockProbe(self)

    def validate(self, recipe: Recipe | str, budget: Budget | float) -> Validation:
        """Probe a recipe's metric, then score a few real layers for its mask signature.

        A program is tried on a tiny block, then on three real ones. Its signature is that of the
        new weights; its error is measured on calibration windows that it did not see.

        Args:
            recipe: The recipe to try, or its text.
            budget: Share of zeros, or a budget.
        """
        recipe, budget = _read(recipe, budget)
        started = time.monotonic()
        try:
            signature: str | None
            error: float | None
            errors: Mapping[str, float] = {}
            reached: Mapping[str, Any] = {}
            if recipe.metric.kind == "scheme":
                reached = check_shapes(self, recipe, budget)
                signature = error = None
            elif recipe.metric.kind == "program":
                if self.programs is not None:
                    self.programs.require(recipe.metric)
                signature, error = self.block_probe.behaviour(self, recipe, budget)
            else:
                self.scorer.probe(recipe.metric)
                signature, error, errors = behaviour(self, recipe, budget)
        except CandidateRejectedError as rejection:
            code, detail = rejection.code, rejection.detail
        except UsageError as fault:
            # Our own checks on a formula or its scores failed, for example NaN on a real layer.
            code, detail = "invalid", reason_of(fault, LONGEST_DETAIL)
        else:
            seconds = time.monotonic() - started
            return Validation(True, "ok", "", signature, error, seconds, errors, reached)
        seconds = time.monotonic() - started
        return Validation(False, code, detail[:LONGEST_DETAIL], seconds=seconds)

    @contextmanager
    def pruned(
        self,
        recipe: Recipe | str,
        budget: Budget | float,
        *,
        draw: int = 0,
        memory: MaskMemory | None = None,
        calibration: int | None = None,
    ) -> Iterator[PruneOutcome]:
        """Prune the model by a recipe for the body of a ``with``; it is always restored afterwards.

        Args:
            recipe: Determines the masks and the repair; a recipe or its text.
            budget: Share of zeros, or a budget.
            draw: Draw of calibration text.
            memory: Where masks are looked up and kept; None: the bench's own.
            calibration: Send this many of the draw's first windows through the blocks, for a quick
                figure, and let block programs compute products in bfloat16 where the processor is
                fast with them; None: all, in float32. Statistics of the dense model are of all
                windows, and a scheme reads them all.

        Raises:
            CandidateRejectedError: If the scorer rejects the metric.
            UsageError: If the recipe or its scores are invalid.
        """
        recipe, budget = _read(recipe, budget)
        if recipe.metric.kind == "scheme":
            with smaller_by(self, recipe, budget, draw) as made:
                yield made
            return
        memory = self.masks if memory is None else memory
        with self.dense:
            yield prune_on(self, recipe, budget, draw, memory, calibration)

    def measure(
        self,
        recipe: Recipe | str | None,
        budget: Budget | float = 0.0,
        windows: slice = ALL,
        part: Part = SELECTION,
        *,
        draw: int = 0,
        kl: bool = False,
        memory: MaskMemory | None = None,
        calibration: int | None = None,
    ) -> Measurement:
        """Measure losses under a recipe.

        Args:
            recipe: Recipe to prune by, or its text. None: the model as it is. It is not restored
                first, so that weights left behind by a recipe are noticed.
            budget: Share of zeros, or a budget.
            windows: Which windows of the part.
            part: Part of the text.
            draw: Draw of calibration text.
            kl: Also measure the distance to the dense model.
            memory: As for :meth:`pruned`, like ``calibration``.

        Raises:
            CandidateRejectedError: If the scorer rejects the metric.
            UsageError: If the recipe or its scores are invalid.
        """
        if recipe is None:
            found = self.evaluate(part, windows)
            return Measurement(found.nll, found.tokens, found.perplexity, seconds=found.seconds)
        started = time.monotonic()
        if kl:
            # Before a scheme makes a second model in memory.
            self.predictions(part)
        pruned = self.pruned(recipe, budget, draw=draw, memory=memory, calibration=calibration)
        with pruned as outcome:
            found = self.evaluate(part, windows, kl=kl)
        return Measurement(
            nll=tuple(found.nll),
            tokens=found.tokens,
            perplexity=found.perplexity,
            layer_sparsity=dict(outcome.layer_sparsity),
            mask_digest=outcome.mask_digest,
            sparsity=outcome.sparsity,
            seconds=time.monotonic() - started,
            kl=found.kl,
        )

    def evaluate(self, part: str, windows: slice = ALL, *, kl: bool = False) -> Evaluation:
        """Measure losses of the model as it is on windows of a part.

        Args:
            part: Part of the text.
            windows: Which windows of the part.
            kl: Also measure the distance to the dense model, in the same passes.
        """
        return evaluate_windows(
            self.loaded.model,
            self.part(part)[windows],
            report=self.report,
            dense=self.predictions(part).part(windows) if kl else None,
        )

    def predictions(self, part: str) -> DensePredictions:
        """Predictions of the dense model on a part; the current weights are left as they are."""
        if part not in self._predictions:
            dense, pruned = self.dense, self.copy()
            dense.restore()
            self._predictions[part] = dense_predictions(
                self.whole_model, self.part(part), report=self.report
            )
            pruned.restore()
        return self._predictions[part]

    def close(self) -> None:
        """Release the scorer, the model and everything that belongs to it."""
        self.scorer.close()
        if self.programs is not None:
            self.programs.close()
        for name in ("splits", "probes", "block_probe"):
            self.__dict__.pop(name, None)
        self._statistics = self._context = None
        self._predictions.clear()
        self.masks = MaskMemory()
        super().close()


def _read(recipe: Recipe | str, budget: Budget | float) -> tuple[Recipe, Budget]:
    parsed: Any = Recipe.parse(recipe) if isinstance(recipe, str) else recipe
    return parsed, budget if isinstance(budget, Budget) else Budget(budget)
