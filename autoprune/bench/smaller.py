"""A smaller shape on one line: a scheme and, optionally, a recovery by the dense model."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autoprune.bench.scheme_budget import SchemeBudget
from autoprune.errors import UsageError
from autoprune.models.structure import prunable_linears
from autoprune.names import MEASURED
from autoprune.progress import Report, silent
from autoprune.pruning import Precision, masters_of, movable, recover, teach
from autoprune.repair import RECOVER, ModelRecovery
from autoprune.schemes import SCHEMES, Scheme, Shrunk, build_scheme, parts_of, shrink
from autoprune.spelling import split_outside

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from autoprune.bench.bench import Bench


@dataclass(frozen=True)
class Shrinking:
    """How a model is made smaller: ``depth``, ``depth+width``, ``depth+recover:steps=100``.

    Args:
        scheme: Decides what is removed.
        recovery: Trains all remaining weights on the dense model's predictions; None: no training.
    """

    scheme: Scheme
    recovery: ModelRecovery | None = None

    def __post_init__(self) -> None:
        alone = [part.NAME for part in parts_of(self.scheme) if part.NAME in MEASURED]
        if alone and self.recovery is not None:
            raise UsageError(
                f"{self.text!r}: {alone[0]} acts while a model runs and changes no weight, so that "
                "no recovery follows it; it stands alone"
            )

    @classmethod
    def parse(cls, text: str) -> "Shrinking":
        """Read ``SCHEME`` or ``SCHEME+recover:key=value,...``.

        Raises:
            UnknownNameError: If there is no such scheme.
            UsageError: If a parameter is invalid, ``recover`` is not last, or the scheme stands
                alone.
        """
        *before, last = split_outside(text.strip(), "+")
        name, _, rest = last.partition(":")
        if name.strip() != RECOVER:
            return cls(build_scheme(text))
        if not before:
            raise UsageError(f"{text!r} names no scheme; write depth+{text.strip()}")
        return cls(build_scheme("+".join(before)), ModelRecovery.from_text(rest))

    @staticmethod
    def names(text: str) -> bool:
        """Whether a text begins with a scheme's name."""
        return text.partition("+")[0].partition(":")[0].strip() in SCHEMES

    @property
    def text(self) -> str:
        """The shortest line that :meth:`parse` reads back."""
        return self.scheme.text + (f"+{self.recovery.text}" if self.recovery else "")

    @property
    def reads_text(self) -> bool:
        """Whether it reads calibration text."""
        return self.recovery is not None or self.scheme.reads_text

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters."""
        return self.recovery is not None or self.scheme.stochastic

    @property
    def fresh_windows(self) -> int:
        """Windows that the recovery reads in addition to those of the scheme."""
        return 0 if self.recovery is None else self.recovery.windows

    def apply(
        self,
        model: "PreTrainedModel",
        target: "float | SchemeBudget",
        windows: "Tensor | None" = None,
        *,
        fresh: "Tensor | None" = None,
        seed: int = 0,
        precision: Precision = "auto",
        report: Report = silent,
    ) -> Shrunk:
        """Make a model smaller in place; see :func:`autoprune.schemes.shrink`.

        Args:
            model: The dense model, in eval mode.
            target: Share of the blocks' parameters to remove, or a budget.
            windows: Calibration token ids, int64 [n, s]; None if nothing reads text.
            fresh: Windows for the recovery that are not in ``windows``.
            seed: Seed for random choices and for the recovery's order.
            precision: Precision of the recovery's products.
            report: Callback, called with progress.

        Raises:
            UsageError: If the target is out of reach, or text is needed and there is none.
        """
        if windows is None and self.reads_text:
            raise UsageError(f"{self.text!r} reads calibration text and none is given")
        if isinstance(target, SchemeBudget):
            dense = target.bytes_of(model)
            share, found = target.share(model, self.scheme, windows, report=report)
            made = self.apply(
                model, share, windows, fresh=fresh, seed=seed, precision=precision, report=report
            )
            if target.budget.unit == "sparsity":
                return made
            facts = {"asked": str(target.budget), **found, **target.reached(model, dense)}
            return replace(made, budget=facts)
        how, used = self.recovery, windows
        if how is None or used is None:
            return shrink(model, self.scheme, target, windows, seed=seed, report=report)

        def taught(dense: "PreTrainedModel") -> "Callable[[PreTrainedModel], Sequence[str]]":
            teacher = teach(dense, how, fresh, used, precision=precision, report=report)

            def recovered(smaller: "PreTrainedModel") -> list[str]:
                moved = movable(smaller, masters_of(prunable_linears(smaller)), how, seed)
                return recover(
                    smaller, teacher, moved, how, seed=seed, precision=precision, report=report
                )

            return recovered

        return shrink(
            model, self.scheme, target, windows, seed=seed, recovery=taught, report=report
        )


@contextmanager
def shrunken(
    bench: "Bench",
    how: Shrinking,
    target: float | SchemeBudget,
    draw: int = 0,
    *,
    seed: int = 0,
    precision: Precision = "auto",
) -> Iterator[Shrunk]:
    """Replace the bench's model by a smaller copy for the body of a ``with`` statement.

    Args:
        bench: Its model is dense, and is the same object again afterwards.
        how: How to make it smaller.
        target: Share to remove, or a budget.
        draw: Draw of calibration text.
        seed: Seed for random choices.
        precision: Precision of the recovery's products.
    """
    windows = bench.drawn_windows(draw) if how.reads_text else None
    fresh = bench.fresh_windows(how.fresh_windows, draw)
    smaller = copy.deepcopy(bench.loaded.model)
    made = how.apply(
        smaller, target, windows, fresh=fresh, seed=seed, precision=precision, report=bench.report
    )
    with bench.holding(smaller):
        yield made
