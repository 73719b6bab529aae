"""One model on a bench, with its text in parts: apply a recipe, measure it, restore."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from autoprune.bench.behaviour import behaviour
from autoprune.bench.block_probe import BlockProbe
from autoprune.bench.calibration import Calibration
from autoprune.bench.mask_memory import MaskMemory
from autoprune.bench.model import ModelBench
from autoprune.bench.outcomes import Measurement, Validation
from autoprune.bench.probes import probe_layers
from autoprune.bench.programs import ByProgram
from autoprune.bench.scheme_recipe import check_shapes, smaller_by
from autoprune.bench.scoring import CandidateRejectedError, HostScorer, Scorer
from autoprune.bench.text import CALIBRATION, SEALED, SELECTION, BenchText, Part
from autoprune.budget import Budget
from autoprune.candidate import Candidate
from autoprune.digest import digest_json
from autoprune.errors import LONGEST_DETAIL, UsageError, reason_of
from autoprune.evaluation.kl import DensePredictions, dense_predictions
from autoprune.evaluation.perplexity import Evaluation, evaluate_windows
from autoprune.models.structure import PrunableLinear
from autoprune.names import UNSTRUCTURED
from autoprune.programs import ProgramRunner
from autoprune.progress import Report, silent
from autoprune.pruning import PruneOutcome, PruningPlan, Score, prune, repair_masks
from autoprune.recipe import Recipe
from autoprune.renamed import renamed
from autoprune.repair import NONE, Repair
from autoprune.store import Store

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
        super().__init__(model_ref, store, text, seed, report, dtype, calibration)
        self.scorer: Scorer = HostScorer() if scorer is None else scorer
        self.programs = programs
        self.masks = MaskMemory()
        # Type of matrix products on selection text; None: that of the weights.
        self.products: torch.dtype | None = None
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
            yield self._prune(recipe, budget, draw, memory, calibration)

    def _prune(
        self,
        recipe: Recipe,
        budget: Budget,
        draw: int,
        memory: MaskMemory,
        calibration: int | None = None,
    ) -> PruneOutcome:
        """Prune in place: from memory, by a recipe, or by masks kept from another repair."""
        key = _key(recipe, budget, draw, calibration)
        known = memory.apply(key, self.layers, self.vectors)
        if known is not None:
            return known
        plan = PruningPlan.of_recipe(
            recipe, budget.share, pattern=budget.pattern or UNSTRUCTURED, seed=self.seed
        )
        if plan.scoring == "dense":
            bare_key = _key(replace(recipe, repair=NONE), budget, draw)
            if (bare := memory.outcome(bare_key)) is None:
                bare = self.prune_by(recipe.metric, replace(plan, repair=Repair()), draw)
                memory.keep(bare_key, bare)
                if not plan.repair.acts:
                    return bare
                self.dense.restore()
            repaired = repair_masks(
                self.loaded.model,
                dict(bare.keep),
                plan,
                windows=self.drawn_windows(draw)[:calibration],
                fresh=self.fresh_windows(plan.repair.fresh_windows, draw),
                layers=self.layers,
                statistics=None if plan.runs_blocks else self.calibrated(plan.needs, draw),
                report=self.report,
            )
            outcome = repaired.after(bare)
        elif recipe.metric.kind == "python":
            raise UsageError(
                "a Python metric is scored once, from statistics of the dense model; leave out "
                f"{plan.scoring!r}, or write the metric as a formula"
            )
        else:
            # Masks and repair together, since those of a block depend on the blocks before it.
            outcome = self.prune_by(recipe.metric, plan, draw, calibration)
        if outcome.weights_digest:
            # Programs with the same masks but different weights count as two.
            outcome = replace(outcome, mask_digest=outcome.weights_digest)
        moved = self.vectors if plan.repair.moves_vectors else {}
        changed = plan.repair.acts or outcome.weights_digest  # else weights follow from masks
        memory.keep(key, outcome, self.layers if changed else None, moved)
        return outcome

    def prune_by(
        self, metric: Candidate, plan: PruningPlan, draw: int, calibration: int | None = None
    ) -> PruneOutcome:
        """Prune dense weights in place by scores or a program; nothing is remembered or restored.

        Args:
            metric: For the bench's scorer, or a program for its runner.
            plan: Budget, group, allocation, repair and their order.
            draw: Draw of calibration text.
            calibration: As for :meth:`pruned`.

        Raises:
            CandidateRejectedError: If the scorer or the runner rejects designed code.
            UsageError: If a part of the plan or a score is invalid.
        """
        by: Score | ByProgram
        if metric.kind == "program":
            by = ByProgram(metric, self.programs, quick=calibration is not None)
        else:
            by = self.scorer.score(self, metric, self.layers, draw)
        statistics = self.calibrated(plan.dense_needs(by.needs), draw) if self.has_text else None
        return prune(
            self.loaded.model,
            by,
            plan,
            windows=self.drawn_windows(draw)[:calibration] if statistics else None,
            fresh=self.fresh_windows(plan.repair.fresh_windows, draw),
            layers=self.layers,
            # Those shared by a comparison hold nothing until a method reads some.
            statistics=statistics if statistics and statistics.layers else None,
            context=self.context_for(statistics) if statistics else None,
            report=self.report,
        )

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
            # An evaluation's fields are a part of a measurement's.
            return Measurement(**vars(self.evaluate(part, windows, kl=kl)))
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
            autocast=self._products_on(part),
            dense=self.predictions(part).part(windows) if kl else None,
        )

    def _products_on(self, part: str) -> torch.dtype | None:
        return self.products if part == SELECTION else None

    def predictions(self, part: str) -> DensePredictions:
        """Predictions of the dense model on a part; the current weights are left as they are."""
        if part not in self._predictions:
            dense, pruned = self.dense, self.copy()
            dense.restore()
            try:
                self._predictions[part] = dense_predictions(
                    self.whole_model, self.part(part), report=self.report,
                    autocast=self._products_on(part),
                )  # fmt: skip
            finally:
                pruned.restore()
        return self._predictions[part]

    def close(self) -> None:
        """Release the scorer, the model and everything that belongs to it."""
        self.scorer.close()
        if self.programs is not None:
            self.programs.close()
        for name in ("probes", "block_probe"):
            self.__dict__.pop(name, None)
        self._predictions.clear()
        self.masks = MaskMemory()
        super().close()


def _read(recipe: Recipe | str, budget: Budget | float) -> tuple[Recipe, Budget]:
    parsed: Any = Recipe.parse(recipe) if isinstance(recipe, str) else recipe
    return parsed, budget if isinstance(budget, Budget) else Budget(budget)


def _key(recipe: Recipe, budget: Budget, draw: int, calibration: int | None = None) -> str:
    few = [] if calibration is None else [calibration]
    return digest_json([recipe.to_json(), budget.sparsity, budget.pattern, draw, *few])
