"""What stands on a bench: a model, its text in parts, statistics of draws, the dense weights."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal, Self

from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.allocation.context import ModelContext
from autoprune.bench.calibration import Calibration, DocumentDraws, DrawStatistics, fresh_name
from autoprune.bench.scoring import OFFERED
from autoprune.bench.text import CALIBRATION, SEALED, BenchText
from autoprune.digest import windows_digest
from autoprune.errors import UsageError
from autoprune.models.loading import LoadedModel, load_model, load_tokenizer
from autoprune.models.reference import ModelSource, resolve
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.progress import Report, silent
from autoprune.pruning import DenseWeights, vectors_of
from autoprune.schemes import BlockScans
from autoprune.statistics.statistics import Statistics
from autoprune.store import Store
from autoprune.text.corpora import load_corpus
from autoprune.text.generated import Author, is_generated
from autoprune.text.splits import Splits, split
from autoprune.text.windows import token_windows


class ModelBench:
    """A model that can be pruned, measured and restored.

    As a context manager, it releases the model at the end.

    Args:
        model_ref: Reference of the model; loaded on first use.
        store: The content-addressed cache.
        text: Corpus, split and windows of each part.
        seed: Seed for random controls and for the order of tuning.
        report: Called with progress.
        dtype: Type of the weights in memory, by torch's name.
        calibration: How draws of calibration text are cut and their statistics kept.
    """

    def __init__(
        self,
        model_ref: str,
        store: Store,
        text: BenchText,
        seed: int = 0,
        report: Report = silent,
        dtype: str = "float32",
        calibration: Calibration | None = None,
    ) -> None:
        self.model_ref = model_ref
        self.store = store
        self.text = text
        self.seed = seed
        self.report = report
        self.dtype = dtype
        # Token windows by name, int64 [windows, seqlen].
        self.windows: dict[str, Tensor] = {}
        self.calibration: Calibration = (
            DocumentDraws(OFFERED) if calibration is None else calibration
        )
        self._statistics: tuple[int, DrawStatistics] | None = None
        self._context: ModelContext | None = None
        self.scans = BlockScans()
        # Where it is pruned for good, no dense copy takes memory.
        self._for_good: Literal["no", "at work", "done"] = "no"
        # The model while another stands in its place.
        self._whole: PreTrainedModel | None = None

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model, loaded on first use."""
        import torch

        return load_model(self.model_ref, dtype=getattr(torch, self.dtype))

    @property
    def whole_model(self) -> PreTrainedModel:
        """The model itself, also while a smaller one stands in its place."""
        return self.loaded.model if self._whole is None else self._whole

    @contextmanager
    def holding(self, model: PreTrainedModel) -> Iterator[None]:
        """Let another model stand in place of the bench's for the body of a ``with`` statement.

        What belongs to the whole model stays so: layers, dense weights, statistics, predictions.
        """
        before = self.loaded.model, self._whole
        self.loaded.model, self._whole = model, self.whole_model
        try:
            yield
        finally:
            self.loaded.model, self._whole = before

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer; for a streamed model it is loaded without the weights."""
        return self.loaded.tokenizer if "loaded" in vars(self) else self.source_tokenizer

    @cached_property
    def source(self) -> ModelSource:
        """Where the model is stored."""
        return self.loaded.source if "loaded" in vars(self) else resolve(self.model_ref)

    @cached_property
    def source_tokenizer(self) -> Any:
        """The tokenizer alone."""
        return load_tokenizer(self.source)

    @cached_property
    def layers(self) -> list[PrunableLinear]:
        """The prunable linears in block order."""
        return prunable_linears(self.whole_model)

    @property
    def prunable(self) -> int:
        """Number of prunable weights."""
        return sum(layer.numel for layer in self.layers)

    @cached_property
    def dense(self) -> DenseWeights:
        """Copy of what recipes change, taken on first use, to restore after a recipe."""
        self._require_dense()
        return self.copy()

    def restore(self) -> None:
        """Write the dense weights back; nothing, while the model is pruned for good."""
        if self._for_good == "no":
            self.dense.restore()

    @contextmanager
    def for_good(self) -> Iterator[None]:
        """Take no copy of the dense weights for the body of a ``with``, which prunes the model.

        Afterwards the bench has its pruned model, and neither dense weights nor statistics.
        """
        self._require_dense()
        vars(self).pop("dense", None)
        self._for_good = "at work"
        try:
            yield
        finally:
            self._statistics = self._context = None
            self._for_good = "done"

    def _require_dense(self) -> None:
        """Refuse to take the pruned model for the dense one, whose digest its figures would get."""
        if self._for_good == "done":
            raise RuntimeError(f"{self.model_ref} was pruned for good; open another bench")

    @property
    def has_text(self) -> bool:
        """Whether there is calibration text: to prune for good, it is cut only if it is read."""
        return self._for_good == "no" or CALIBRATION in {**self.windows, **self.text.counts}

    def copy(self) -> DenseWeights:
        """Copy of what recipes change, in its current state."""
        return DenseWeights(self.layers, self.vectors.values())

    @cached_property
    def vectors(self) -> dict[str, nn.Parameter]:
        """Norms and biases by name, which some repairs move."""
        return vectors_of(self.whole_model)

    @cached_property
    def splits(self) -> Splits:
        """Calibration, selection and sealed text, disjoint by document."""
        corpus = self.text.corpus
        if is_generated(corpus):
            raise UsageError(
                f"the corpus {corpus!r} is written by the model itself, and no figure is ever "
                "measured on such text; take wikipedia-sample or a text of your own"
            )
        text = load_corpus(corpus, cache=self.store, tokenizer=self.tokenizer)
        return split(text, seed=self.text.split)

    def part(self, name: str) -> Tensor:
        """Token windows of one part of the text, int64 [windows, seqlen]."""
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
        """Up to ``count`` windows of the calibration part that are not in this draw."""
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
        self._require_dense()
        statistics = self.statistics_of(draw)
        with self.holding(self.whole_model):
            if not statistics.covers(needs):
                # Weights may be pruned at this point, but statistics are of the dense model.
                self.restore()
            return statistics.require(needs)

    def statistics_of(self, draw: int) -> DrawStatistics:
        """Statistics of one draw; those of the previous draw are released."""
        if self._statistics is None or self._statistics[0] != draw:
            # Gram matrices take more memory than the model, so keep those of one draw only.
            self._statistics = self._context = None
            made = self.calibration.statistics(self, self.drawn_windows(draw))
            self._statistics = draw, made
        return self._statistics[1]

    def context_for(self, statistics: Statistics) -> ModelContext:
        """Input of the allocators; costly, so it is cached while the statistics stay the same."""
        known = self._context
        if known is None or known.statistics is not statistics:
            self._context = ModelContext(self.layers, statistics)
            return self._context
        return known

    def author(self, tokens: int) -> Author:
        """The model as the author of its own calibration text."""
        in_memory = "loaded" in vars(self)

        def load() -> LoadedModel:
            if in_memory:
                return self.loaded
            raise UsageError(
                "self-generated text is written by the whole model in memory, which streaming "
                "avoids; run once without --stream (the text is kept), or name a smaller writer: "
                "--corpus self-generated:model=REF"
            )

        return Author(load, self.source.digest, tokens, self.report, self.tokenizer, self.dtype)

    def close(self) -> None:
        """Release the model and everything that belongs to it."""
        self.windows.clear()
        self._statistics = self._context = None
        self.scans = BlockScans()
        for name in ("splits", "loaded", "layers", "vectors", "source_tokenizer", "dense"):
            self.__dict__.pop(name, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
