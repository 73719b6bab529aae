"""A model by reference and what belongs to it: layers, windows, statistics, dense weights."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Self

from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.errors import UsageError
from autoprune.models.loading import LoadedModel, load_model, load_tokenizer
from autoprune.models.reference import ModelSource, resolve
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.progress import Report, silent
from autoprune.pruning import DenseWeights, vectors_of
from autoprune.statistics.statistics import Statistics, stored_statistics
from autoprune.store import Store
from autoprune.text.generated import Author


class ModelBench:
    """A model that can be pruned, measured and restored.

    As a context manager, it releases the model at the end.

    Args:
        model_ref: Reference of the model; loaded on first use.
        store: The content-addressed cache.
        seed: Seed for random controls and for the order of tuning.
        report: Called with progress.
        dtype: Type of the weights in memory, by torch's name.
    """

    def __init__(
        self,
        model_ref: str,
        store: Store,
        seed: int = 0,
        report: Report = silent,
        dtype: str = "float32",
    ) -> None:
        self.model_ref = model_ref
        self.store = store
        self.seed = seed
        self.report = report
        self.dtype = dtype
        # Token windows by name, int64 [windows, seqlen].
        self.windows: dict[str, Tensor] = {}
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
        return resolve(self.model_ref)

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
        return self.copy()

    def copy(self) -> DenseWeights:
        """Copy of what recipes change, in its current state."""
        return DenseWeights(self.layers, self.vectors.values())

    @cached_property
    def vectors(self) -> dict[str, nn.Parameter]:
        """Norms and biases by name, which some repairs move."""
        return vectors_of(self.whole_model)

    def statistics(self, windows: str, needs: Collection[str]) -> Statistics:
        """Statistics of the dense model on the named windows, from the cache where possible."""
        return stored_statistics(
            self.store, self.loaded, self.windows[windows], needs=needs, report=self.report
        )

    def author(self, tokens: int) -> Author:
        """The model as the author of its own calibration text.

        Args:
            tokens: Number of tokens that will be read.
        """
        in_memory = "loaded" in vars(self)
        source = self.loaded.source if in_memory else self.source

        def load() -> LoadedModel:
            if in_memory:
                return self.loaded
            raise UsageError(
                "self-generated text is written by the whole model in memory, which streaming "
                "avoids; run once without --stream (the text is kept), or name a smaller writer: "
                "--corpus self-generated:model=REF"
            )

        return Author(load, source.digest, tokens, self.report, self.tokenizer, self.dtype)

    def close(self) -> None:
        """Release the model and everything that belongs to it."""
        self.windows.clear()
        for name in ("loaded", "layers", "vectors", "source_tokenizer", "dense"):
            self.__dict__.pop(name, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
