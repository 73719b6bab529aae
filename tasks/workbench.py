"""Everything heavy that a run holds in this process, reached by id and never passed around.

Prefect must not see models or tensors (it hashes, walks and pins its arguments), so a flow opens a
workbench, its tasks look it up by id, and the flow closes it.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autoprune.errors import AutopruneError, UsageError
from autoprune.progress import Report, silent
from tasks.state import State
from tasks.turns import turn

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.models.loading import LoadedModel
    from autoprune.models.reference import ModelSource
    from autoprune.models.structure import PrunableLinear
    from autoprune.statistics.statistics import Statistics
    from autoprune.store import Store
    from autoprune.text.generated import Author


@dataclass
class Workbench:
    """A loaded model with its windows and statistics.

    Args:
        id: How tasks find it.
        model_ref: Reference of the model.
        state: Where caches lie.
        seed: Seed of the run.
        report: Where the library reports progress.
        windows: Token windows by name, int64 [windows, seqlen].
        dtype: Type of the weights in memory, by torch's name.
    """

    id: str
    model_ref: str
    state: State
    seed: int = 0
    report: Report = silent
    windows: dict[str, "Tensor"] = field(default_factory=dict)
    dtype: str = "float32"

    @cached_property
    def loaded(self) -> "LoadedModel":
        """The model, loaded at first use."""
        import torch

        from autoprune.models.loading import load_model

        return load_model(self.model_ref, dtype=getattr(torch, self.dtype))

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer; of a model that is streamed it is loaded without the weights."""
        return self.loaded.tokenizer if "loaded" in vars(self) else self.source_tokenizer

    @cached_property
    def source(self) -> "ModelSource":
        """Where the model lies."""
        from autoprune.models.reference import resolve

        return resolve(self.model_ref)

    @cached_property
    def source_tokenizer(self) -> Any:
        """The tokenizer alone."""
        from autoprune.models.loading import load_tokenizer

        return load_tokenizer(self.source)

    @cached_property
    def layers(self) -> "list[PrunableLinear]":
        """The prunable linears in block order."""
        from autoprune.models.structure import prunable_linears

        return prunable_linears(self.loaded.model)

    @property
    def prunable(self) -> int:
        """Number of prunable weights."""
        return sum(layer.numel for layer in self.layers)

    @cached_property
    def store(self) -> "Store":
        """The content-addressed cache."""
        from autoprune.store import Store

        return Store(self.state.store)

    def statistics(self, windows: str, needs: Collection[str]) -> "Statistics":
        """Statistics of the dense model on the named windows, from the cache where possible."""
        from autoprune.statistics.statistics import stored_statistics

        return stored_statistics(
            self.store, self.loaded, self.windows[windows], needs=needs, report=self.report
        )

    def author(self, tokens: int) -> "Author":
        """The model as the writer of its own calibration text.

        Args:
            tokens: Tokens that will be read.
        """
        from autoprune.text.generated import Author

        in_memory = "loaded" in vars(self)
        source = self.loaded.source if in_memory else self.source

        def load() -> "LoadedModel":
            if in_memory:
                return self.loaded
            raise UsageError(
                "self-generated text is written by the whole model in memory, which streaming "
                "avoids; run once without --stream (the text is kept), or name a smaller writer: "
                "--corpus self-generated:model=REF"
            )

        return Author(load, source.digest, tokens, self.report)

    def close(self) -> None:
        """Let the model and everything that hangs on it go."""
        self.windows.clear()
        for name in ("loaded", "layers", "source_tokenizer"):
            self.__dict__.pop(name, None)


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


@contextmanager
def opened(bench: Workbench) -> Iterator[Workbench]:
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
